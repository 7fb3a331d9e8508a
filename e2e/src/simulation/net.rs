//! The network: streams between agents and hubs, with all that can befall them.
//!
//! Within one direction of one stream the order holds and nothing is lost; across streams and directions nothing is
//! promised. A cut path swallows: what was sent arrives when the cut has been mended, however late, or the stream turns
//! out to be dead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::agenda::{Agenda, Event, Time};
use super::dice::Dice;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// From the spoke.
    Up,
    /// From the hub.
    Down,
}

/// What arrives.
#[derive(Debug)]
pub(super) enum Item {
    /// A message, encoded.
    Message(Vec<u8>),
    /// The other side has closed, or is dead.
    Closed,
}

/// Messages that one side takes while the other does not read; as in production.
const WAITING: usize = 8192;

/// One direction of a stream.
#[derive(Debug, Default)]
struct Pipe {
    queue: VecDeque<(Time, Item)>,
    bytes: usize,
    messages: usize,
    last: Time,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) hub: usize,
    pub(super) hub_life: u64,
    pub(super) spoke: usize,
    pub(super) agent_life: u64,
    /// A second stream that something on the way made of the first: nobody is at its lower end.
    pub(super) ghost: bool,
    /// The reader of the lower end does not read.
    pub(super) unread: bool,
    up: Pipe,
    down: Pipe,
}

/// All streams, and the state of the paths.
#[derive(Debug, Default)]
pub(super) struct Net {
    streams: BTreeMap<u64, Stream>,
    made: u64,
    /// Paths that swallow.
    cut: BTreeSet<(usize, Direction)>,
    /// Extra milliseconds on the way to and from a spoke.
    pub(super) slow: BTreeMap<usize, u64>,
}

impl Net {
    /// Opens a stream; the hub's end finds out by the first message.
    pub(super) fn open(&mut self, hub: (usize, u64), spoke: (usize, u64), ghost: bool) -> u64 {
        self.made += 1;
        let stream = Stream {
            hub: hub.0,
            hub_life: hub.1,
            spoke: spoke.0,
            agent_life: spoke.1,
            ghost,
            unread: false,
            up: Pipe::default(),
            down: Pipe::default(),
        };
        self.streams.insert(self.made, stream);
        self.made
    }

    pub(super) fn stream(&self, stream: u64) -> Option<&Stream> {
        self.streams.get(&stream)
    }

    /// Sends; `false` if the other side takes no more.
    pub(super) fn send(
        &mut self,
        (stream, direction): (u64, Direction),
        item: Item,
        now: Time,
        dice: &mut Dice,
        agenda: &mut Agenda,
    ) -> bool {
        let Some(found) = self.streams.get_mut(&stream) else { return false };
        let slow = self.slow.get(&found.spoke).copied().unwrap_or_default();
        let pipe = match direction {
            Direction::Up => &mut found.up,
            Direction::Down => &mut found.down,
        };
        if let Item::Message(bytes) = &item {
            if pipe.messages >= WAITING {
                return false;
            }
            pipe.messages += 1;
            pipe.bytes += bytes.len();
        }
        let at = pipe.last.max(now + dice.between(1, 20) + slow);
        pipe.last = at;
        pipe.queue.push_back((at, item));
        agenda.plan(at, Event::Arrive { stream, direction });
        true
    }

    /// What arrives now, if anything does.
    pub(super) fn arrived(&mut self, stream: u64, direction: Direction, now: Time) -> Option<Item> {
        let found = self.streams.get_mut(&stream)?;
        if self.cut.contains(&(found.spoke, direction)) || (direction == Direction::Down && found.unread) {
            return None;
        }
        let pipe = match direction {
            Direction::Up => &mut found.up,
            Direction::Down => &mut found.down,
        };
        if pipe.queue.front().is_none_or(|(at, _)| *at > now) {
            return None;
        }
        let (_, item) = pipe.queue.pop_front()?;
        if let Item::Message(bytes) = &item {
            pipe.bytes -= bytes.len();
            pipe.messages -= 1;
        }
        Some(item)
    }

    /// Bytes that wait for a spoke on one stream.
    pub(super) fn waiting(&self, stream: u64) -> usize {
        self.streams.get(&stream).map_or(0, |stream| stream.down.bytes)
    }

    /// Neither side knows the stream any more.
    pub(super) fn forget(&mut self, stream: u64) {
        self.streams.remove(&stream);
    }

    /// The lower end stops reading, or reads again.
    pub(super) fn set_unread(&mut self, stream: u64, unread: bool, now: Time, agenda: &mut Agenda) {
        let Some(found) = self.streams.get_mut(&stream) else { return };
        found.unread = unread;
        if !unread {
            for _ in 0..found.down.queue.len() {
                agenda.plan(now.max(found.down.last), Event::Arrive { stream, direction: Direction::Down });
            }
        }
    }

    /// Whether the path to or from a spoke swallows.
    pub(super) fn is_cut(&self, spoke: usize) -> bool {
        self.cut.contains(&(spoke, Direction::Up)) || self.cut.contains(&(spoke, Direction::Down))
    }

    /// From now on the path swallows.
    pub(super) fn cut(&mut self, spoke: usize, direction: Direction) {
        self.cut.insert((spoke, direction));
    }

    /// The path carries again: what was swallowed arrives, or every stream of that path is found dead.
    pub(super) fn mend(&mut self, spoke: usize, dead: bool, now: Time, agenda: &mut Agenda) {
        self.cut.retain(|(cut, _)| *cut != spoke);
        for (id, stream) in self.streams.iter_mut().filter(|(_, stream)| stream.spoke == spoke) {
            for (direction, pipe) in [(Direction::Up, &mut stream.up), (Direction::Down, &mut stream.down)] {
                if dead {
                    *pipe = Pipe { last: now, ..Pipe::default() };
                    pipe.queue.push_back((now, Item::Closed));
                }
                for _ in 0..pipe.queue.len() {
                    agenda.plan(now.max(pipe.last), Event::Arrive { stream: *id, direction });
                }
            }
        }
    }
}

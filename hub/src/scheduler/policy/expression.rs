//! CEL over a cluster: compiled once with the policy, asked of every cluster.
//!
//! What an expression can cost is bounded by its length, by what the hub keeps of a cluster, and by macros that hold no
//! other macro: at most its length times the longest list.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr};
use cel::objects::{Key, Value};
use cel::{Context, Env, Program};

use crate::fleet::{Capacity, Cluster, Link, Pool, properties};

/// Longest expression, characters; the schema says the same.
const LONGEST: usize = 1024;
/// What may lie within each other: the parser calls itself, and takes up to 64 KiB of stack for an operator and four times
/// that for a bracket, of the 2 MiB that a thread has.
const DEEPEST: usize = 24;
/// What a bracket counts beside an operator.
const BRACKET: usize = 4;
/// What an expression speaks of.
const CLUSTER: &str = "cluster";

/// A CEL expression over `cluster`.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    program: Arc<Program>,
    environment: Arc<Env>,
    /// Parts of `cluster` that it names; only these are looked up.
    parts: BTreeSet<&'static str>,
}

/// What `cluster` is made of.
const PARTS: [&str; 5] = ["name", "labels", "properties", "connected", "capacity"];

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// In one sentence: where it cannot be read, what it speaks of that is not there, or that it may cost too much.
    pub fn compile(source: &str) -> Result<Self, String> {
        if source.chars().count() > LONGEST {
            return Err(format!("longer than {LONGEST} characters"));
        }
        if !is_flat(source) {
            let brackets = DEEPEST / BRACKET;
            return Err(format!(
                "more than {brackets} brackets within each other, {DEEPEST} operators, or both together: write several \
                 expressions"
            ));
        }
        let program = Program::compile(source).map_err(|errors| one_line(&errors.to_string()))?;
        let mut found = Found::default();
        found.walk(program.expression(), 0, &mut Vec::new());
        if let Some(fault) = found.fault {
            return Err(fault);
        }
        let parts = if found.whole { PARTS.into() } else { found.parts };
        let environment = Arc::new(Env::stdlib());
        Ok(Self { source: source.into(), program: Arc::new(program), environment, parts })
    }

    /// As it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether it speaks of nothing but what the admin says of a cluster, so that no report changes it.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.parts.iter().all(|part| matches!(*part, "name" | "labels"))
    }

    /// Whether it is true of the cluster.
    ///
    /// # Errors
    /// When it has no value there, or one that is neither true nor false.
    pub fn holds(&self, cluster: &Cluster) -> Result<bool, String> {
        let mut context = Context::with_env(self.environment.clone());
        context.add_variable_from_value(CLUSTER, self.facts(cluster));
        match self.program.execute(&context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it is of type {}, neither true nor false", other.type_of())),
            Err(error) => Err(one_line(&error.to_string())),
        }
    }

    fn facts(&self, cluster: &Cluster) -> HashMap<Key, Value> {
        let mut facts = HashMap::with_capacity(self.parts.len());
        for part in &self.parts {
            let value = match *part {
                "name" => cluster.name.as_str().into(),
                "labels" => {
                    map(cluster.labels.iter().map(|(key, value)| (key.as_str(), value.as_str().into())))
                }
                "properties" => observed(cluster),
                "connected" => Value::Bool(cluster.link == Link::Connected),
                _ => cluster.capacity.as_ref().map_or(Value::Null, capacity),
            };
            facts.insert((*part).into(), value);
        }
        facts
    }
}

fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
    entries.into_iter().collect::<HashMap<&str, Value>>().into()
}

fn observed(cluster: &Cluster) -> Value {
    let single = properties::SINGLE.into_iter();
    let single = single.filter_map(|key| Some((key, cluster.property(key)?.into())));
    let many = properties::MANY.into_iter();
    let many = many.map(|key| (key, cluster.properties(key).map(Value::from).collect::<Vec<_>>().into()));
    map(single.chain(many))
}

fn capacity(capacity: &Capacity) -> Value {
    let (free, allocatable) = capacity.totals();
    let nodes = capacity.pools.iter().map(|pool| pool.nodes).fold(0, u32::saturating_add);
    map([
        ("freeGPUs", number(free)),
        ("allocatableGPUs", number(allocatable)),
        ("nodes", number(nodes)),
        ("pools", capacity.pools.iter().map(pool).collect::<Vec<_>>().into()),
    ])
}

fn pool(pool: &Pool) -> Value {
    let largest =
        pool.free_per_node.iter().rev().find(|(_, nodes)| **nodes > 0).map_or(0, |(block, _)| *block);
    map([
        ("product", pool.product.as_str().into()),
        ("resource", pool.resource.as_str().into()),
        ("memoryMiB", Value::Int(i64::try_from(pool.memory_mib).unwrap_or(i64::MAX))),
        ("nodes", number(pool.nodes)),
        ("capacity", number(pool.capacity)),
        ("allocatable", number(pool.allocatable)),
        ("free", number(pool.free)),
        ("largestFree", number(largest)),
    ])
}

fn number(number: u32) -> Value {
    Value::Int(number.into())
}

/// Whether the parser has stack enough. What is quoted counts for nothing where it is plain where quotes end.
fn is_flat(source: &str) -> bool {
    let is_plain = !source.contains(['\\', '\n', '\r', '`'])
        && !["//", "'''", "\"\"\""].iter().any(|mark| source.contains(mark));
    let (mut depth, mut deepest, mut operators, mut quote, mut before) = (0usize, 0, 0, None, b' ');
    for byte in source.bytes() {
        match (byte, quote) {
            (b'\'' | b'"', None) if is_plain => quote = Some(byte),
            (_, Some(end)) => quote = quote.filter(|_| byte != end),
            (b'(' | b'[' | b'{', None) => depth += 1,
            (b')' | b']' | b'}', None) => depth = depth.saturating_sub(1),
            (b'=', None) if b"<>=!".contains(&before) => {}
            (b'+' | b'-' | b'*' | b'/' | b'%' | b'<' | b'>' | b'=', None) => operators += 1,
            _ => {}
        }
        deepest = deepest.max(depth);
        before = byte;
    }
    let words = source.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| *word == "in").count();
    deepest * BRACKET + operators + words <= DEEPEST
}

/// The parser's drawing of where the fault is, on one line.
fn one_line(text: &str) -> String {
    text.split_whitespace()
        .filter(|word| !word.chars().all(|c| "|.^".contains(c)))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What an expression is made of.
#[derive(Default)]
struct Found {
    parts: BTreeSet<&'static str>,
    /// It takes `cluster` as a whole.
    whole: bool,
    /// The first thing that is wrong.
    fault: Option<String>,
}

impl Found {
    fn walk(&mut self, node: &IdedExpr, depth: u32, bound: &mut Vec<String>) {
        match &node.expr {
            Expr::Ident(name) if name == CLUSTER => self.whole = true,
            Expr::Ident(name) if bound.contains(name) => {}
            Expr::Ident(name) => self.wrong(format!("{name} is unknown: an expression speaks of {CLUSTER}")),
            Expr::Select(select) => {
                if matches!(&select.operand.expr, Expr::Ident(name) if name == CLUSTER) {
                    match PARTS.into_iter().find(|part| *part == select.field) {
                        Some(part) => drop(self.parts.insert(part)),
                        None => self.wrong(format!(
                            "{CLUSTER}.{} is unknown: there are {}",
                            select.field,
                            PARTS.join(", ")
                        )),
                    }
                } else {
                    self.walk(&select.operand, depth, bound);
                }
            }
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.walk(target, depth, bound));
                call.args.iter().for_each(|argument| self.walk(argument, depth, bound));
            }
            Expr::List(list) => list.elements.iter().for_each(|element| self.walk(element, depth, bound)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, depth, bound)),
            Expr::Struct(made) => made.entries.iter().for_each(|entry| self.entry(&entry.expr, depth, bound)),
            Expr::Comprehension(each) => {
                if depth > 0 {
                    self.wrong("a macro inside a macro costs too much: write two expressions".to_owned());
                    return;
                }
                self.walk(&each.iter_range, depth + 1, bound);
                let before = bound.len();
                bound.push(each.iter_var.clone());
                bound.extend(each.iter_var2.clone());
                bound.push(each.accu_var.clone());
                for part in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    self.walk(part, depth + 1, bound);
                }
                bound.truncate(before);
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: u32, bound: &mut Vec<String>) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, depth, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, depth, bound);
                self.walk(&entry.value, depth, bound);
            }
        }
    }

    fn wrong(&mut self, fault: String) {
        self.fault.get_or_insert(fault);
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Expression({:?})", self.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

impl Eq for Expression {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::scheduler::tests::builder::{Build, H100, L40S, pool, report};

    fn east() -> Fleet {
        let mut capacity =
            report(vec![pool(H100, 81_559, &[(8, 2), (3, 1)], 8), pool(L40S, 46_068, &[(4, 1)], 4)], 0);
        capacity.region = "eu".into();
        Fleet::default().joined("east", Vec::new()).labelled("east", "tier", "gold").reports("east", capacity)
    }

    #[test]
    fn what_can_be_asked() {
        let fleet = east();
        let cluster = fleet.cluster("east").unwrap();
        for (source, holds) in [
            ("cluster.name == 'east'", true),
            ("cluster.name.startsWith('we')", false),
            ("cluster.labels.tier in ['gold', 'silver']", true),
            ("has(cluster.labels.tier) && !has(cluster.labels.site)", true),
            ("cluster.properties['topology.kubernetes.io/region'] == 'eu'", true),
            ("cluster.properties['nimfleet.io/gpu-product'].exists(p, p.matches('L40S$'))", true),
            ("cluster.capacity.freeGPUs >= 23", true),
            ("cluster.capacity.freeGPUs * 2 > cluster.capacity.allocatableGPUs * 4", false),
            ("cluster.capacity.pools.exists(p, p.largestFree >= 8 && p.memoryMiB > 80000)", true),
            ("cluster.capacity.pools.all(p, p.product.contains('H100'))", false),
            ("size(cluster.capacity.pools) == 2 && cluster.connected", true),
        ] {
            assert_eq!(Expression::compile(source).unwrap().holds(cluster), Ok(holds), "{source}");
        }
    }

    #[test]
    fn what_has_no_value_is_said() {
        let fleet = east();
        let cluster = fleet.cluster("east").unwrap();
        for (source, word) in [
            ("cluster.labels.site == 'a'", "site"),
            ("cluster.name", "string"),
            ("cluster.capacity.freeGPUs > 'many'", ""),
            ("1 / 0 == 1", "zero"),
        ] {
            let error = Expression::compile(source).unwrap().holds(cluster).unwrap_err();
            assert!(error.contains(word), "{source}: {error}");
        }
        let bare = Fleet::default().admin("west", |_| {});
        let asks = Expression::compile("cluster.capacity.freeGPUs > 0").unwrap();
        assert!(asks.holds(bare.cluster("west").unwrap()).is_err(), "nothing is reported yet");
    }

    #[test]
    fn what_lies_within_each_other_fits_on_the_stack() {
        let fleet = east();
        let cluster = fleet.cluster("east").unwrap();
        let chain = |step: &str, times| format!("1{} > 0", step.repeat(times));
        let nested = |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        for source in [
            nested(DEEPEST / BRACKET),
            chain("+1", DEEPEST - 1),
            format!("{}1 < 0", "1 - ".repeat(DEEPEST - 1)),
            format!("{}true", "!".repeat(1000)),
            format!("{}true", "true?true:".repeat(100)),
            format!("cluster.labels{}", ".a".repeat(500)),
            format!("true{}", "&&true".repeat(160)),
            format!("{}1+1+1+1+1+1+1+1 > 0{}", "(".repeat(4), ")".repeat(4)),
            format!("cluster.name in ['{}']", "us-east-1/(".repeat(60)),
        ] {
            // Whether it can be read is no matter here, only that the stack lasts.
            let _ = Expression::compile(&source).and_then(|expression| expression.holds(cluster));
        }
        for source in [
            nested(DEEPEST / BRACKET + 1),
            chain("+1", DEEPEST),
            format!("true{}", " in [1]".repeat(DEEPEST)),
            format!("r'\\' == '' && {} == ''", nested(DEEPEST)),
            format!("true // '\n && {}", nested(DEEPEST)),
            format!("{} == 1", "1 == ".repeat(DEEPEST)),
        ] {
            let error = Expression::compile(&source).unwrap_err();
            assert!(error.contains("write several expressions"), "{source}: {error}");
        }
    }

    #[test]
    fn what_means_nothing_or_costs_too_much_is_refused() {
        let deep = format!("{}true{}", "(".repeat(400), ")".repeat(400));
        let long = format!("cluster.name == '{}'", "x".repeat(LONGEST));
        for (source, word) in [
            ("cluster.name ==", "1:"),
            ("", ""),
            ("node.name == 'a'", "node is unknown"),
            ("cluster.gpus > 1", "cluster.gpus is unknown: there are name, labels"),
            (
                "cluster.capacity.pools.all(p, cluster.capacity.pools.all(q, q.free == p.free))",
                "macro inside a macro",
            ),
            (long.as_str(), "longer than 1024"),
            (deep.as_str(), "6 brackets"),
        ] {
            let error = Expression::compile(source).unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{source}: {error}");
        }
    }
}

//! What must hold after every step, one file each.

mod i1_no_removal_unasked;
mod i2_no_older_generation;
mod i3_converges;
mod i4_no_overcommit;
mod i5_bad_objects_alone;
mod i6_status_is_true;
mod i7_bounded_memory;
mod i8_one_session;
mod i9_no_mass_deletion;

use super::World;
use super::stage::{Fact, Given};

/// One invariant.
trait Invariant {
    /// Its name and its statement.
    fn statement(&self) -> &'static str;

    /// Takes note of something that was done; an error says how it breaks the invariant.
    fn done(&mut self, _fact: &Fact, _world: &World) -> Result<(), String> {
        Ok(())
    }

    /// Looks at the world after a step.
    fn hold(&mut self, _world: &World) -> Result<(), String> {
        Ok(())
    }
}

/// All of them.
pub(super) struct Invariants(Vec<Box<dyn Invariant>>);

impl Invariants {
    pub(super) fn new() -> Self {
        Self(vec![
            Box::new(i1_no_removal_unasked::NoRemovalUnasked::default()),
            Box::new(i2_no_older_generation::NoOlderGeneration::default()),
            Box::new(i3_converges::Converges),
            Box::new(i4_no_overcommit::NoOvercommit::default()),
            Box::new(i5_bad_objects_alone::BadObjectsAlone::default()),
            Box::new(i6_status_is_true::StatusIsTrue::default()),
            Box::new(i7_bounded_memory::BoundedMemory),
            Box::new(i8_one_session::OneSession),
            Box::new(i9_no_mass_deletion::NoMassDeletion::default()),
        ])
    }

    /// After a step: the statement that does not hold and what breaks it, if one does not.
    pub(super) fn check(&mut self, facts: &[Fact], world: &World) -> Result<(), (&'static str, String)> {
        for invariant in &mut self.0 {
            let done = facts.iter().try_for_each(|fact| invariant.done(fact, world));
            done.and_then(|()| invariant.hold(world)).map_err(|how| (invariant.statement(), how))?;
        }
        Ok(())
    }
}

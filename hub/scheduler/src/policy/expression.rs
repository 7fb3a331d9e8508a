//! CEL over clusters: compiled once with the policy, asked of every cluster, before the decision where that takes a lock.
//!
//! What an expression can cost is bounded when it is compiled: by its length, by macros that hold no other macro, by the steps
//! that it takes for a cluster with many pools ([`MOST_STEPS`]), and by patterns that are written out, so that they are compiled
//! with it and have a bounded size.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::extractors::This;
use cel::objects::{Key, Value};
use cel::{Context, Env, Program};
use regex::{Regex, RegexBuilder};

use super::Affinity;
use crate::fleet::{Capacity, Cluster, ClusterName, Link, Pool, properties};

/// Longest expression, characters; the schema says the same.
const LONGEST: usize = 1024;
/// What may lie within each other: the parser calls itself, and takes up to 64 KiB of stack for an operator and four times
/// that for a bracket, of the 2 MiB that a thread has.
const DEEPEST: usize = 24;
/// What a bracket counts beside an operator.
const BRACKET: usize = 4;
/// Most steps that one expression takes for a cluster whose lists have [`LIST`] items.
const MOST_STEPS: usize = 4096;
/// The same for all expressions of a placement together: half a millisecond for a cluster with so many pools.
const MOST_STEPS_TOGETHER: usize = 16_384;
/// Items of a list by which steps are counted. A spoke may report more pools, which costs its own cluster's share alone.
const LIST: usize = 32;
/// Most patterns of all expressions of a placement together.
const MOST_PATTERNS: usize = 16;
/// Largest compiled pattern, KiB, and largest cache of its automaton.
const PATTERN_KIB: usize = 128;
/// What an expression speaks of.
const CLUSTER: &str = "cluster";
/// The function that takes a pattern.
const MATCHES: &str = "matches";

/// A CEL expression over `cluster`.
#[derive(Clone)]
pub struct Expression {
    source: Arc<str>,
    /// As it was parsed, with a function of its own in place of every call of `matches`.
    program: Arc<IdedExpr>,
    environment: Arc<Env>,
    patterns: Vec<Arc<Regex>>,
    steps: usize,
    /// Parts of `cluster` that it names; only these are looked up.
    parts: BTreeSet<&'static str>,
}

/// What `cluster` is made of.
const PARTS: [&str; 5] = ["name", "labels", "properties", "connected", "capacity"];

/// What the expressions of a placement say of clusters: of each the ones that are not true, by their place, and why where one has
/// no value. A cluster that is not here was not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdicts(BTreeMap<ClusterName, Vec<(usize, Option<String>)>>);

impl Verdicts {
    /// Asks the expressions of an affinity of clusters: all of them of those that `is_there`, of others until one is not true.
    pub fn ask<'a>(
        affinity: &Affinity,
        clusters: impl IntoIterator<Item = &'a Cluster>,
        is_there: impl Fn(&ClusterName) -> bool,
    ) -> Self {
        let mut questions: Vec<Evaluation<'_>> = affinity.expressions.iter().map(Evaluation::new).collect();
        if questions.is_empty() {
            return Self::default();
        }
        let parts: BTreeSet<&'static str> =
            affinity.expressions.iter().flat_map(|one| &one.parts).copied().collect();
        let verdict = |cluster: &'a Cluster| {
            let facts = facts(&parts, cluster);
            let mut failed = Vec::new();
            for (index, question) in questions.iter_mut().enumerate() {
                match question.holds(facts.clone()) {
                    Ok(true) => continue,
                    Ok(false) => failed.push((index, None)),
                    Err(error) => failed.push((index, Some(error))),
                }
                if !is_there(&cluster.name) {
                    break;
                }
            }
            (cluster.name.clone(), failed)
        };
        Self(clusters.into_iter().map(verdict).collect())
    }

    /// Whether nothing was asked.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The expressions that are not true of a cluster; none where it was not asked.
    pub(crate) fn of(&self, cluster: &ClusterName) -> Option<&[(usize, Option<String>)]> {
        self.0.get(cluster).map(Vec::as_slice)
    }
}

/// An expression that is asked of many clusters.
pub(crate) struct Evaluation<'e> {
    expression: &'e Expression,
    context: Context<'e, 'e>,
}

impl<'e> Evaluation<'e> {
    pub(crate) fn new(expression: &'e Expression) -> Self {
        let mut context = Context::with_env(expression.environment.clone());
        for (index, pattern) in expression.patterns.iter().enumerate() {
            let pattern = pattern.clone();
            let is_match = move |This(text): This<Arc<String>>| pattern.is_match(&text);
            // No function of the environment has such a name.
            let _ = context.add_function(&function(index), is_match);
        }
        Self { expression, context }
    }

    /// Whether the expression is true of a cluster.
    pub(crate) fn of(&mut self, cluster: &Cluster) -> Result<bool, String> {
        let facts = facts(&self.expression.parts, cluster);
        self.holds(facts)
    }

    fn holds(&mut self, facts: Value) -> Result<bool, String> {
        self.context.add_variable_from_value(CLUSTER, facts);
        match Value::resolve(&self.expression.program, &self.context) {
            Ok(Value::Bool(holds)) => Ok(holds),
            Ok(other) => Err(format!("it is of type {}, neither true nor false", other.type_of())),
            Err(error) => Err(one_line(&error.to_string())),
        }
    }
}

/// The name of the function that stands for the use of a pattern.
fn function(pattern: usize) -> String {
    format!("{MATCHES} {pattern}")
}

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
        let mut program = program.expression().clone();
        let mut found = Found::default();
        found.walk(&mut program, 0, &mut Vec::new());
        if let Some(fault) = found.fault {
            return Err(fault);
        }
        if found.steps > MOST_STEPS {
            return Err(format!(
                "takes {} steps for a cluster with {LIST} pools, at most {MOST_STEPS}: shorten what stands within a macro, or write \
                 several expressions",
                found.steps
            ));
        }
        let parts = if found.whole { PARTS.into() } else { found.parts };
        Ok(Self {
            source: source.into(),
            program: Arc::new(program),
            environment: Arc::new(Env::stdlib()),
            patterns: found.patterns,
            steps: found.steps,
            parts,
        })
    }

    /// Whether the expressions of one placement cost no more than all may together.
    ///
    /// # Errors
    /// In one sentence, with the numbers.
    pub(super) fn cost_little(expressions: &[Self]) -> Result<(), String> {
        let steps: usize = expressions.iter().map(|one| one.steps).sum();
        let patterns: usize = expressions.iter().map(|one| one.patterns.len()).sum();
        if steps > MOST_STEPS_TOGETHER {
            return Err(format!(
                "they take {steps} steps for a cluster with {LIST} pools, at most {MOST_STEPS_TOGETHER}: write fewer or shorter ones"
            ));
        }
        if patterns > MOST_PATTERNS {
            return Err(format!(
                "{patterns} patterns in them, at most {MOST_PATTERNS}: put several into one, as a|b"
            ));
        }
        Ok(())
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
        Evaluation::new(self).holds(facts(&self.parts, cluster))
    }
}

/// What expressions that name these parts can see of a cluster.
fn facts(parts: &BTreeSet<&'static str>, cluster: &Cluster) -> Value {
    let mut facts: HashMap<Key, Value> = HashMap::with_capacity(parts.len());
    for part in parts {
        let value = match *part {
            "name" => cluster.name.as_str().into(),
            "labels" => map(cluster.labels.iter().map(|(key, value)| (key.as_str(), value.as_str().into()))),
            "properties" => observed(cluster),
            "connected" => Value::Bool(cluster.link == Link::Connected),
            _ => cluster.capacity.as_ref().map_or(Value::Null, capacity),
        };
        facts.insert((*part).into(), value);
    }
    facts.into()
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
    /// Nodes, those within a macro once for each item of a list of [`LIST`].
    steps: usize,
    /// Patterns, in the order in which they were found.
    patterns: Vec<Arc<Regex>>,
    /// The first thing that is wrong.
    fault: Option<String>,
}

impl Found {
    /// Looks at a node and all below it, and puts functions of its own in place of calls of `matches`.
    fn walk(&mut self, node: &mut IdedExpr, depth: u32, bound: &mut Vec<String>) {
        self.steps = self.steps.saturating_add(if depth > 0 { LIST } else { 1 });
        match &mut node.expr {
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
                    self.walk(&mut select.operand, depth, bound);
                }
            }
            Expr::Call(call) => {
                if call.func_name == MATCHES {
                    self.pattern(call);
                }
                call.target.iter_mut().for_each(|target| self.walk(target, depth, bound));
                call.args.iter_mut().for_each(|argument| self.walk(argument, depth, bound));
            }
            Expr::List(list) => list.elements.iter_mut().for_each(|element| self.walk(element, depth, bound)),
            Expr::Map(map) => {
                map.entries.iter_mut().for_each(|entry| self.entry(&mut entry.expr, depth, bound));
            }
            Expr::Struct(made) => {
                made.entries.iter_mut().for_each(|entry| self.entry(&mut entry.expr, depth, bound));
            }
            Expr::Comprehension(each) => {
                if depth > 0 {
                    self.wrong("a macro inside a macro costs too much: write two expressions".to_owned());
                    return;
                }
                self.walk(&mut each.iter_range, depth + 1, bound);
                let before = bound.len();
                bound.push(each.iter_var.clone());
                bound.extend(each.iter_var2.clone());
                bound.push(each.accu_var.clone());
                for part in [&mut each.accu_init, &mut each.loop_cond, &mut each.loop_step, &mut each.result]
                {
                    self.walk(part, depth + 1, bound);
                }
                bound.truncate(before);
            }
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    /// `text.matches('pattern')` and `matches(text, 'pattern')` become a function of the text that has the pattern compiled.
    fn pattern(&mut self, call: &mut CallExpr) {
        let pattern = match call.args.last().map(|argument| &argument.expr) {
            Some(Expr::Literal(LiteralValue::String(pattern))) => pattern.inner().to_owned(),
            _ => {
                return self
                    .wrong(format!("{MATCHES} takes a pattern that is written out: it is compiled once"));
            }
        };
        call.args.pop();
        if call.target.is_none() {
            call.target = call.args.pop().map(Box::new);
        }
        if call.target.is_none() || !call.args.is_empty() {
            return self
                .wrong(format!("{MATCHES} takes a text and a pattern: write text.matches('pattern')"));
        }
        if self.patterns.len() >= MOST_PATTERNS {
            return self.wrong(format!("more than {MOST_PATTERNS} patterns"));
        }
        let bytes = PATTERN_KIB << 10;
        match RegexBuilder::new(&pattern).size_limit(bytes).dfa_size_limit(bytes).build() {
            Ok(compiled) => {
                call.func_name = function(self.patterns.len());
                self.patterns.push(Arc::new(compiled));
            }
            Err(regex::Error::CompiledTooBig(_)) => self.wrong(format!(
                "{MATCHES}: a pattern takes more than {PATTERN_KIB} KiB once it is compiled: repeat less in it"
            )),
            Err(error) => self.wrong(format!("{MATCHES}: {}", one_line(&error.to_string()))),
        }
    }

    fn entry(&mut self, entry: &mut EntryExpr, depth: u32, bound: &mut Vec<String>) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&mut field.value, depth, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&mut entry.key, depth, bound);
                self.walk(&mut entry.value, depth, bound);
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

impl std::hash::Hash for Expression {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.source.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Fleet;
    use crate::tests::builder::{Build, H100, L40S, pool, report};

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
    fn patterns_are_compiled_with_the_expression_and_mean_what_they_meant() {
        let fleet = east();
        let cluster = fleet.cluster("east").unwrap();
        for (source, holds) in [
            ("cluster.name.matches('^ea')", true),
            ("matches(cluster.name, 'st$')", true),
            ("cluster.name.matches('^we') || cluster.labels.tier.matches('[a-z]+')", true),
            (r"cluster.name.matches('^\\w+$') && !cluster.name.matches('\\d')", true),
            ("cluster.capacity.pools.all(p, p.product.matches('H100'))", false),
        ] {
            assert_eq!(Expression::compile(source).unwrap().holds(cluster), Ok(holds), "{source}");
        }
        let large = r"cluster.name.matches('((\\pL{40}){40}|(\\w{40}){40})+')";
        for (source, word) in [
            (large, "128 KiB"),
            ("cluster.name.matches('(')", "unclosed group"),
            ("cluster.name.matches(cluster.labels.tier)", "written out"),
            ("cluster.name.matches()", "written out"),
            ("matches('a')", "text.matches('pattern')"),
            ("cluster.name.matches('a', 'b')", "text.matches('pattern')"),
        ] {
            let error = Expression::compile(source).unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{source}: {error}");
        }
        let error = Expression::compile("1.matches('a')").and_then(|one| one.holds(cluster)).unwrap_err();
        assert!(!error.is_empty(), "a number matches nothing");
    }

    #[test]
    fn what_is_asked_before_is_what_is_asked_now() {
        let fleet = east().joined("west", Vec::new());
        let expressions =
            ["cluster.name.matches('e')", "cluster.labels.tier == 'gold'", "cluster.capacity.freeGPUs > 99"];
        let expressions = expressions.map(|source| Expression::compile(source).unwrap());
        let affinity = Affinity { expressions: expressions.to_vec(), ..Affinity::default() };
        let verdicts = Verdicts::ask(&affinity, fleet.clusters(), |name| name.as_str() == "west");
        let of = |name: &str| verdicts.of(&name.parse().unwrap()).unwrap();
        assert_eq!(of("east"), [(2, None)]);
        assert_eq!(
            of("west").iter().map(|(index, _)| *index).collect::<Vec<_>>(),
            [1, 2],
            "all, where it is"
        );
        assert_eq!(of("west")[0].1, expressions[1].holds(fleet.cluster("west").unwrap()).err());
        assert_eq!(verdicts.of(&"north".parse().unwrap()), None);
    }

    #[test]
    fn what_means_nothing_or_costs_too_much_is_refused() {
        let deep = format!("{}true{}", "(".repeat(400), ")".repeat(400));
        let long = format!("cluster.name == '{}'", "x".repeat(LONGEST));
        let steps = format!("cluster.capacity.pools.exists(p, p.free in [{}1])", "p.free,".repeat(130));
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
            (steps.as_str(), "steps for a cluster with 32 pools, at most 4096"),
        ] {
            let error = Expression::compile(source).unwrap_err();
            assert!(error.contains(word) && !error.contains('\n'), "{source}: {error}");
        }
    }
}

//! Counts of one part of the data set, and every difference, grouped by kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::dataset::Query;
use crate::explain::Kind;
use crate::response::Response;

/// What became of one part of the data set.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// Whether all of its zones keep all rules.
    is_valid: bool,
    /// Zones in it.
    zones: u64,
    /// Zones that were refused, by rule, each as it was reported.
    refused: BTreeMap<String, Vec<String>>,
    /// Zones that were refused although they are valid or most of the references accept them.
    refused_alone: u64,
    /// Zones that were served, by the rule of a warning; one may count for several.
    warned: BTreeMap<String, u64>,
    /// Zones that were served without a warning.
    silent: u64,
    /// Answers equal to that of most references.
    agreed: u64,
    /// Answers to questions on which most references do not agree, equal to one of theirs.
    agreed_with_one: u64,
    /// Explained differences by kind.
    explained: BTreeMap<Vec<Kind>, Vec<String>>,
    /// Differences that no rule explains.
    unexplained: Vec<String>,
}

impl Report {
    /// Begins the report of a part, whose zones keep all rules or break one.
    pub(crate) fn new(is_valid: bool) -> Self {
        Self { is_valid, ..Self::default() }
    }

    /// Counts a zone that was refused for `rule`, reported as `error`.
    pub(crate) fn refused(&mut self, rule: &str, error: String, checkers: &[(String, bool)]) {
        self.zones += 1;
        let accepting = checkers.iter().filter(|(_, accepts)| *accepts).count();
        let is_accepted = self.is_valid || 2 * accepting > checkers.len();
        self.refused_alone += u64::from(is_accepted);
        self.refused.entry(rule.to_owned()).or_default().push(error);
    }

    /// Counts a zone that was served, with warnings about these rules.
    pub(crate) fn served(&mut self, rules: impl IntoIterator<Item = String>) {
        self.zones += 1;
        let rules: BTreeSet<String> = rules.into_iter().collect();
        self.silent += u64::from(rules.is_empty());
        for rule in rules {
            *self.warned.entry(rule).or_default() += 1;
        }
    }

    /// Counts an answer. `explain` returns the kinds of what differs between it and another.
    pub(crate) fn answered(
        &mut self,
        zone: u32,
        query: &Query,
        ours: &Response,
        explain: &dyn Fn(&Response) -> Option<Vec<Kind>>,
    ) {
        let others: Vec<&Response> = match query.consensus() {
            Some(consensus) if consensus == ours => {
                self.agreed += 1;
                return;
            }
            Some(consensus) => vec![consensus],
            None if !query.servers(ours).is_empty() => {
                self.agreed_with_one += 1;
                return;
            }
            None => query.answers.iter().map(|(_, answer)| answer).collect(),
        };
        let question = format!("{} {}", query.qname.to_fqdn(), query.qtype);
        let mut text = format!("zone {zone}: {question}\n      ours: {}", ours.show());
        let mut seen: Vec<&Response> = Vec::new();
        for (_, answer) in &query.answers {
            if !seen.contains(&answer) {
                seen.push(answer);
                text += &format!("\n      {}: {}", query.servers(answer).join("+"), answer.show());
            }
        }
        let mut kinds = Vec::new();
        for other in others {
            match explain(other) {
                Some(found) => kinds.extend(found),
                None => {
                    self.unexplained.push(text);
                    return;
                }
            }
        }
        kinds.sort();
        kinds.dedup();
        self.explained.entry(kinds).or_default().push(text);
    }

    /// Returns how many answers were compared.
    fn compared(&self) -> u64 {
        self.agreed + self.agreed_with_one + self.explained_count() + self.unexplained_count()
    }

    /// Returns how many differences are explained.
    fn explained_count(&self) -> u64 {
        self.explained.values().map(|list| list.len() as u64).sum()
    }

    /// Returns how many differences are not explained.
    fn unexplained_count(&self) -> u64 {
        self.unexplained.len() as u64
    }

    /// Whether something must be looked at: a difference without an explanation, or a zone that we
    /// alone refuse.
    pub(crate) fn is_suspect(&self) -> bool {
        !self.unexplained.is_empty() || self.refused_alone > 0
    }

    /// Adds another part's answers.
    pub(crate) fn add_answers(&mut self, other: &Self) {
        self.agreed += other.agreed;
        self.agreed_with_one += other.agreed_with_one;
        for (kinds, list) in &other.explained {
            self.explained.entry(kinds.clone()).or_default().extend(list.iter().cloned());
        }
        self.unexplained.extend(other.unexplained.iter().cloned());
    }

    /// Prints the zones that were refused or served.
    pub(crate) fn print_zones(&self, name: &str, lists_all: bool) {
        let refused: usize = self.refused.values().map(Vec::len).sum();
        let served = self.zones - refused as u64;
        println!("{name}: {} zones, {refused} refused, {served} served", self.zones);
        for (rule, errors) in &self.refused {
            println!("  refused {:5}  {rule}; e.g. {}", errors.len(), errors[0]);
            for error in errors.iter().filter(|_| lists_all) {
                println!("      {error}");
            }
        }
        if self.refused_alone > 0 {
            println!(
                "  refused {:5}  although valid or accepted by most references",
                self.refused_alone
            );
        }
        for (rule, count) in &self.warned {
            println!("  served  {count:5}  with the warning {rule}");
        }
        if served > 0 {
            println!("  served  {:5}  without a warning", self.silent);
        }
    }

    /// Prints the answers; with `lists_all` the explained differences one by one, too.
    pub(crate) fn print_answers(&self, lists_all: bool) {
        if self.compared() == 0 {
            return;
        }
        println!("  {}", self.summary());
        for (kinds, list) in &self.explained {
            println!("  differs {:5}  {kinds:?}", list.len());
            for difference in list.iter().filter(|_| lists_all) {
                println!("    {difference}");
            }
        }
        for difference in &self.unexplained {
            println!("  NOT EXPLAINED {difference}");
        }
    }

    /// Prints what each kind of difference that occurs is, and which text decides it.
    pub(crate) fn print_kinds(&self) {
        let mut kinds: Vec<Kind> = self.explained.keys().flatten().copied().collect();
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            let with_kind = self.explained.iter().filter(|(kinds, _)| kinds.contains(&kind));
            let count: usize = with_kind.map(|(_, list)| list.len()).sum();
            println!("{kind:?} ({count}): {}", kind.text());
        }
    }

    /// Returns the line that sums up.
    pub(crate) fn summary(&self) -> String {
        format!(
            "agreed {} of {}; differences: {} where the references disagree and one is as ours, \
             {} explained, {} not explained",
            self.agreed,
            self.compared(),
            self.agreed_with_one,
            self.explained_count(),
            self.unexplained_count(),
        )
    }
}

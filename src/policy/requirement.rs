//! How authorities combine: all of, any of, and at least some by different signers.
//!
//! `allOf` and `anyOf` do not ask who signed twice. `atLeast` counts people: it holds if so many of its items can be given to signers
//! one to one, a maximum matching in a bipartite graph. A signer fills an item alone: of an `allOf` inside `of` every authority, of an
//! `anyOf` one. So one item can never take the signers of another, and the count is exact in polynomial time.

use std::collections::{BTreeMap, BTreeSet};

use super::PolicyError;
use super::authority::{Authority, Signers};
use super::parse::check_count;
use crate::api;
use crate::trust::KeyFingerprint;

/// A requirement; the leaves are positions in the policy's authorities, checked when parsed.
#[derive(Debug)]
pub(super) enum Requirement {
    Authority(usize),
    AllOf(Vec<Requirement>),
    AnyOf(Vec<Requirement>),
    /// The items hold no further `AtLeast`.
    AtLeast {
        wanted: usize,
        of: Vec<Requirement>,
    },
}

/// The signers who satisfy each authority, by number; none: it is not satisfied.
pub(super) type Satisfied = [BTreeSet<usize>];

/// An `atLeast` that does not hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Count {
    pub(super) wanted: usize,
    pub(super) of: usize,
    /// Items that are satisfied, by whomever.
    pub(super) satisfied: usize,
    /// Items that different signers satisfy.
    pub(super) distinct: usize,
}

impl Requirement {
    /// Parses `spec.require`.
    ///
    /// # Errors
    /// Names that no authority bears, empty lists, thresholds that cannot be met.
    pub(super) fn parse(spec: Option<&api::Requirement>, authorities: &[Authority]) -> Result<Self, PolicyError> {
        const FIELD: &str = "spec.require";
        let Some(spec) = spec else {
            return if authorities.len() == 1 { Ok(Self::Authority(0)) } else { Err(PolicyError::RequireMissing) };
        };
        let items = |part: &str, items: &[api::RequirementItem]| {
            let field = format!("{FIELD}.{part}");
            check_count(&field, items.len(), 1, 16)?;
            let item = |(position, item)| Self::item(&format!("{field}[{position}]"), item, authorities);
            items.iter().enumerate().map(item).collect::<Result<Vec<_>, _>>()
        };
        match (&spec.all_of, &spec.any_of, spec.at_least, &spec.of) {
            (Some(list), None, None, None) => Ok(Self::AllOf(items("allOf", list)?)),
            (None, Some(list), None, None) => Ok(Self::AnyOf(items("anyOf", list)?)),
            (None, None, Some(wanted), Some(list)) => {
                if list.iter().any(|item| item.at_least.is_some() || item.of.is_some()) {
                    let reason = "atLeast counts signers, and an atLeast inside it has several";
                    return Err(PolicyError::Useless { field: format!("{FIELD}.of"), reason });
                }
                Self::at_least(FIELD, wanted, items("of", list)?, authorities)
            }
            _ => Err(PolicyError::NotOneOf { field: FIELD.to_owned(), choices: "allOf, anyOf and atLeast with of" }),
        }
    }

    fn item(field: &str, item: &api::RequirementItem, authorities: &[Authority]) -> Result<Self, PolicyError> {
        let leaf = |field: &str, name: &str| {
            let found = authorities.iter().position(|authority| authority.name == name);
            found
                .map(Self::Authority)
                .ok_or_else(|| PolicyError::UnknownAuthority { field: field.to_owned(), name: name.to_owned() })
        };
        let leaves = |part: &str, names: &[api::AuthorityName]| {
            let field = format!("{field}.{part}");
            check_count(&field, names.len(), 1, 16)?;
            names.iter().map(|name| leaf(&field, &name.authority)).collect::<Result<Vec<_>, _>>()
        };
        match (&item.authority, &item.all_of, &item.any_of, item.at_least, &item.of) {
            (Some(name), None, None, None, None) => leaf(field, name),
            (None, Some(names), None, None, None) => Ok(Self::AllOf(leaves("allOf", names)?)),
            (None, None, Some(names), None, None) => Ok(Self::AnyOf(leaves("anyOf", names)?)),
            (None, None, None, Some(wanted), Some(names)) => {
                Self::at_least(field, wanted, leaves("of", names)?, authorities)
            }
            _ => Err(PolicyError::NotOneOf {
                field: field.to_owned(),
                choices: "authority, allOf, anyOf and atLeast with of",
            }),
        }
    }

    fn at_least(field: &str, wanted: u8, of: Vec<Self>, authorities: &[Authority]) -> Result<Self, PolicyError> {
        let wanted = usize::from(wanted);
        let possible = possible(&of, authorities);
        if wanted == 0 || wanted > possible {
            return Err(PolicyError::Threshold { field: format!("{field}.atLeast"), wanted, possible });
        }
        Ok(Self::AtLeast { wanted, of })
    }

    /// Whether the requirement holds. Empty lists do not parse.
    pub(super) fn holds(&self, satisfied: &Satisfied) -> bool {
        match self {
            Self::Authority(position) => satisfied.get(*position).is_some_and(|signers| !signers.is_empty()),
            Self::AllOf(items) => !items.is_empty() && items.iter().all(|item| item.holds(satisfied)),
            Self::AnyOf(items) => items.iter().any(|item| item.holds(satisfied)),
            Self::AtLeast { wanted, of } => *wanted > 0 && distinct(of, satisfied) >= *wanted,
        }
    }

    /// Whether the requirement mentions the authority at this position.
    pub(super) fn reaches(&self, position: usize) -> bool {
        match self {
            Self::Authority(own) => *own == position,
            Self::AllOf(items) | Self::AnyOf(items) | Self::AtLeast { of: items, .. } => {
                items.iter().any(|item| item.reaches(position))
            }
        }
    }

    /// Every `atLeast` that does not hold.
    pub(super) fn short(&self, satisfied: &Satisfied) -> Vec<Count> {
        match self {
            Self::Authority(_) => Vec::new(),
            Self::AllOf(items) | Self::AnyOf(items) => items.iter().flat_map(|item| item.short(satisfied)).collect(),
            Self::AtLeast { wanted, of } => {
                let count = Count {
                    wanted: *wanted,
                    of: of.len(),
                    satisfied: of.iter().filter(|item| item.holds(satisfied)).count(),
                    distinct: distinct(of, satisfied),
                };
                if count.distinct < count.wanted { vec![count] } else { Vec::new() }
            }
        }
    }

    /// The signers, any of whom satisfies this alone.
    fn signers(&self, satisfied: &Satisfied) -> BTreeSet<usize> {
        match self {
            Self::Authority(position) => satisfied.get(*position).cloned().unwrap_or_default(),
            Self::AllOf(items) => items
                .iter()
                .map(|item| item.signers(satisfied))
                .reduce(|left, right| left.intersection(&right).copied().collect())
                .unwrap_or_default(),
            Self::AnyOf(items) => items.iter().flat_map(|item| item.signers(satisfied)).collect(),
            // Refused when parsed.
            Self::AtLeast { .. } => BTreeSet::new(),
        }
    }
}

/// How many items can be given to different signers.
fn distinct(items: &[Requirement], satisfied: &Satisfied) -> usize {
    maximum_matching(&items.iter().map(|item| item.signers(satisfied)).collect::<Vec<_>>())
}

/// How many of these sets can each give an element of its own: augmenting paths, at most as deep as there are sets.
fn maximum_matching<T: Clone + Ord>(choices: &[BTreeSet<T>]) -> usize {
    fn place<T: Clone + Ord>(
        set: usize,
        choices: &[BTreeSet<T>],
        taken: &mut BTreeMap<T, usize>,
        seen: &mut BTreeSet<T>,
    ) -> bool {
        for choice in choices.get(set).into_iter().flatten() {
            if !seen.insert(choice.clone()) {
                continue;
            }
            let holder = taken.get(choice).copied();
            if holder.is_none_or(|holder| place(holder, choices, taken, seen)) {
                taken.insert(choice.clone(), set);
                return true;
            }
        }
        false
    }
    let mut taken = BTreeMap::new();
    (0..choices.len()).filter(|set| place(*set, choices, &mut taken, &mut BTreeSet::new())).count()
}

/// Who could ever fill an item.
enum Possible {
    /// The holders of these keys, and nobody else.
    Keys(BTreeSet<KeyFingerprint>),
    /// As many holders of certificates as are wanted.
    Anybody,
}

/// How many items different signers could ever fill: keys are known beforehand, holders of certificates are without number.
fn possible(items: &[Requirement], authorities: &[Authority]) -> usize {
    let mut keys = Vec::new();
    let mut anybody = 0;
    for item in items {
        match item.possible(authorities) {
            Possible::Keys(set) => keys.push(set),
            Possible::Anybody => anybody += 1,
        }
    }
    anybody + maximum_matching(&keys)
}

impl Requirement {
    fn possible(&self, authorities: &[Authority]) -> Possible {
        match self {
            Self::Authority(position) => match authorities.get(*position).map(|authority| &authority.signers) {
                Some(Signers::Keys { keys, .. }) => {
                    Possible::Keys(keys.iter().map(|key| key.key.fingerprint().clone()).collect())
                }
                Some(_) => Possible::Anybody,
                None => Possible::Keys(BTreeSet::new()),
            },
            Self::AllOf(items) => items
                .iter()
                .map(|item| item.possible(authorities))
                .reduce(|left, right| match (left, right) {
                    (Possible::Keys(left), Possible::Keys(right)) => {
                        Possible::Keys(left.intersection(&right).cloned().collect())
                    }
                    (Possible::Anybody, Possible::Anybody) => Possible::Anybody,
                    // No key holds a certificate.
                    _ => Possible::Keys(BTreeSet::new()),
                })
                .unwrap_or(Possible::Keys(BTreeSet::new())),
            Self::AnyOf(items) => items
                .iter()
                .map(|item| item.possible(authorities))
                .reduce(|left, right| match (left, right) {
                    (Possible::Keys(left), Possible::Keys(right)) => Possible::Keys(&left | &right),
                    _ => Possible::Anybody,
                })
                .unwrap_or(Possible::Keys(BTreeSet::new())),
            Self::AtLeast { .. } => Possible::Keys(BTreeSet::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most sets that can each give an element of its own, by trying everything.
    fn by_force(choices: &[BTreeSet<usize>], used: &BTreeSet<usize>) -> usize {
        let Some((first, rest)) = choices.split_first() else { return 0 };
        let without = by_force(rest, used);
        let with = first.difference(used).map(|choice| {
            let mut used = used.clone();
            used.insert(*choice);
            1 + by_force(rest, &used)
        });
        with.max().unwrap_or(0).max(without)
    }

    fn set(bits: usize) -> BTreeSet<usize> {
        (0..4).filter(|bit| bits >> bit & 1 == 1).collect()
    }

    #[test]
    fn the_matching_is_maximal_whatever_the_order() {
        // Every way in which three signers can stand behind four items.
        for bits in 0..1_usize << 12 {
            let mut choices: Vec<BTreeSet<usize>> = (0..4).map(|item| set(bits >> (3 * item) & 7)).collect();
            let expected = by_force(&choices, &BTreeSet::new());
            assert_eq!(maximum_matching(&choices), expected, "{choices:?}");
            choices.reverse();
            assert_eq!(maximum_matching(&choices), expected, "{choices:?}");
        }
    }

    #[test]
    fn at_least_counts_signers_and_the_others_do_not() {
        let leaf = Requirement::Authority;
        let at_least = |wanted, of| Requirement::AtLeast { wanted, of };
        let two = || at_least(2, vec![leaf(0), leaf(1), leaf(2)]);
        let table = [
            // One signer in three roles is one signer.
            (two(), [set(1), set(1), set(1)], false),
            (two(), [set(1), set(2), set(0)], true),
            // The first could take the only signer of the second.
            (two(), [set(3), set(1), set(0)], true),
            (two(), [set(0), set(0), set(15)], false),
            (Requirement::AllOf(vec![leaf(0), leaf(1), leaf(2)]), [set(1), set(1), set(1)], true),
            (Requirement::AllOf(vec![leaf(0), two()]), [set(1), set(1), set(2)], true),
            (Requirement::AllOf(vec![leaf(0), two()]), [set(0), set(1), set(2)], false),
            // One authority twice wants two of its signers.
            (at_least(2, vec![leaf(0), leaf(0)]), [set(1), set(2), set(4)], false),
            (at_least(2, vec![leaf(0), leaf(0)]), [set(3), set(0), set(0)], true),
            // An item is filled by one signer alone.
            (at_least(1, vec![Requirement::AllOf(vec![leaf(0), leaf(1)])]), [set(1), set(2), set(0)], false),
            (at_least(1, vec![Requirement::AllOf(vec![leaf(0), leaf(1)])]), [set(3), set(2), set(0)], true),
            (at_least(2, vec![Requirement::AllOf(vec![leaf(0), leaf(1)]), leaf(2)]), [set(1), set(1), set(1)], false),
            (at_least(2, vec![Requirement::AnyOf(vec![leaf(0), leaf(1)]), leaf(2)]), [set(1), set(2), set(1)], true),
        ];
        for (requirement, satisfied, expected) in table {
            assert_eq!(requirement.holds(&satisfied), expected, "{requirement:?} {satisfied:?}");
            assert!(requirement.short(&satisfied).is_empty() || !expected, "{requirement:?}");
        }
    }
}

//! Which policies govern an image: by its repository and digest, and by the namespace of the object that names it.
//!
//! Nothing that the workload's author writes takes part: no label of the object, no tag, no user.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::matcher::NameGlob;
use super::parse::{check_count, check_length};
use super::{InvalidPolicy, Policy, PolicyError};
use crate::api::{self, LabelOperator};
use crate::image::{Digest, ImagePattern, Repository};

/// A namespace as far as it is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: NamespaceLabels,
}

/// The labels of a namespace.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NamespaceLabels {
    /// As the cluster, or the input, has them.
    Known(BTreeMap<String, String>),
    /// The namespace was not found; policies that ask for labels cannot be judged.
    Unknown,
}

/// Where the object lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Scope {
    /// In this namespace.
    Namespace(Namespace),
    /// Nowhere: an image by itself, on the command line. Policies are taken whatever their namespaces.
    Anywhere,
}

/// Whether a policy applies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Applies {
    Yes,
    No,
    /// It asks for labels of a namespace that is not known.
    Undecided,
}

/// The namespaces of a policy.
#[derive(Debug, Default)]
pub(super) struct NamespaceMatch {
    /// The one namespace of a policy that lives in one.
    only: Option<Arc<str>>,
    include: Vec<NameGlob>,
    exclude: Vec<NameGlob>,
    selector: Vec<LabelRule>,
}

/// One demand on the labels of a namespace.
#[derive(Debug)]
pub(super) struct LabelRule {
    key: String,
    operator: LabelOperator,
    values: Vec<String>,
}

impl NamespaceMatch {
    pub(super) fn parse(only: Option<&Arc<str>>, spec: Option<&api::Match>) -> Result<Self, PolicyError> {
        let only = only.map(Arc::clone);
        let Some(spec) = spec else { return Ok(Self { only, ..Self::default() }) };
        let rules = |selector| label_rules("spec.match.namespaceSelector", selector);
        Ok(Self {
            only,
            include: globs("spec.match.namespaces", &spec.namespaces)?,
            exclude: globs("spec.match.excludeNamespaces", &spec.exclude_namespaces)?,
            selector: spec.namespace_selector.as_ref().map_or_else(|| Ok(Vec::new()), rules)?,
        })
    }

    fn applies(&self, scope: &Scope) -> Applies {
        let Scope::Namespace(namespace) = scope else { return Applies::Yes };
        if self.only.as_ref().is_some_and(|only| **only != namespace.name) {
            return Applies::No;
        }
        let named = |globs: &[NameGlob]| globs.iter().any(|glob| glob.matches(&namespace.name));
        if named(&self.exclude) || !(self.include.is_empty() || named(&self.include)) {
            return Applies::No;
        }
        match &namespace.labels {
            _ if self.selector.is_empty() => Applies::Yes,
            NamespaceLabels::Unknown => Applies::Undecided,
            NamespaceLabels::Known(labels) if self.selector.iter().all(|rule| rule.holds(labels)) => Applies::Yes,
            NamespaceLabels::Known(_) => Applies::No,
        }
    }
}

impl LabelRule {
    /// The rules of Kubernetes: `NotIn` and `DoesNotExist` hold for a label that is absent.
    pub(super) fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        let listed = || value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            LabelOperator::In => listed(),
            LabelOperator::NotIn => !listed(),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

/// Parses names and globs of namespaces.
pub(super) fn globs(field: &str, texts: &[String]) -> Result<Vec<NameGlob>, PolicyError> {
    check_count(field, texts.len(), 0, 256)?;
    let parse = |(position, text): (usize, &String)| {
        let field = format!("{field}[{position}]");
        check_length(&field, text, 63)?;
        NameGlob::parse(text).map_err(|source| PolicyError::Matcher { field, source })
    };
    texts.iter().enumerate().map(parse).collect()
}

/// Parses a label selector; empty: no demand.
pub(super) fn label_rules(field: &str, selector: &api::LabelSelector) -> Result<Vec<LabelRule>, PolicyError> {
    check_count(&format!("{field}.matchLabels"), selector.match_labels.len(), 0, 64)?;
    check_count(&format!("{field}.matchExpressions"), selector.match_expressions.len(), 0, 64)?;
    let mut rules: Vec<LabelRule> = selector
        .match_labels
        .iter()
        .map(|(key, value)| LabelRule { key: key.clone(), operator: LabelOperator::In, values: vec![value.clone()] })
        .collect();
    for (position, expression) in selector.match_expressions.iter().enumerate() {
        let needs_values = matches!(expression.operator, LabelOperator::In | LabelOperator::NotIn);
        let field = format!("{field}.matchExpressions[{position}]");
        check_length(&format!("{field}.key"), &expression.key, 317)?;
        check_count(&format!("{field}.values"), expression.values.len(), 0, 64)?;
        if needs_values == expression.values.is_empty() {
            return Err(PolicyError::LabelValues { field });
        }
        rules.push(LabelRule {
            key: expression.key.clone(),
            operator: expression.operator,
            values: expression.values.clone(),
        });
    }
    Ok(rules)
}

impl Policy {
    /// Whether the policy looks at the labels of namespaces.
    pub(super) fn selects_by_labels(&self) -> bool {
        !self.namespaces.selector.is_empty()
    }

    /// Whether the policy governs an image. Without a digest, which is a tag that nobody has resolved yet, a pattern that names
    /// a digest may govern and counts as if it did; one in `exclude` does not.
    pub(super) fn applies(&self, repository: &Repository, digest: Option<&Digest>, scope: &Scope) -> Applies {
        let listed = self.images.iter().any(|pattern| may_match(pattern, repository, digest));
        let excluded = self.exclude.iter().any(|pattern| pattern.matches(repository, digest));
        if listed && !excluded { self.namespaces.applies(scope) } else { Applies::No }
    }
}

impl Policy {
    /// Whether the policy governs something in this scope, whatever its images.
    pub(super) fn applies_within(&self, scope: &Scope) -> Applies {
        self.namespaces.applies(scope)
    }
}

impl InvalidPolicy {
    /// By its images, in the namespace that the API server vouches for if it lives in one, and by nothing else that would narrow
    /// them: the rest of the object is not understood.
    pub(super) fn applies(&self, repository: &Repository, digest: Option<&Digest>, scope: &Scope) -> bool {
        let listed = |images: &Vec<ImagePattern>| images.iter().any(|pattern| may_match(pattern, repository, digest));
        self.images.as_ref().is_none_or(listed) && self.applies_within(scope)
    }

    /// Whether it may govern something in this scope.
    pub(super) fn applies_within(&self, scope: &Scope) -> bool {
        match (self.name.namespace(), scope) {
            (Some(own), Scope::Namespace(namespace)) => **own == namespace.name,
            _ => true,
        }
    }
}

pub(super) fn may_match(pattern: &ImagePattern, repository: &Repository, digest: Option<&Digest>) -> bool {
    match digest {
        Some(digest) => pattern.matches(repository, Some(digest)),
        None => pattern.matches_repository(repository),
    }
}

//! The custom resource definitions, as `countersign crd` prints them.
//!
//! Follows the structural schema rules of Kubernetes. Every object node of `spec` also preserves unknown fields: the API server
//! would otherwise prune a misspelt restriction in silence before our parser could refuse it, and a rollback of countersign
//! would drop the fields of the newer version.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

use super::{ClusterSignaturePolicy, CountersignConfig, SignaturePolicy, SignatureRevocation, SignatureTrustRoot};

/// All definitions, in the order of their names.
pub fn custom_resource_definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![
        ClusterSignaturePolicy::crd(),
        CountersignConfig::crd(),
        SignaturePolicy::crd(),
        SignatureRevocation::crd(),
        SignatureTrustRoot::crd(),
    ];
    for version in definitions.iter_mut().flat_map(|definition| &mut definition.spec.versions) {
        let root = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut());
        if let Some(spec) = root.and_then(|root| root.properties.as_mut()).and_then(|p| p.get_mut("spec")) {
            preserve_unknown_fields(spec);
        }
    }
    definitions
}

/// Marks every object node, also one that has no properties; a free map keeps its keys anyway.
fn preserve_unknown_fields(schema: &mut JSONSchemaProps) {
    if schema.additional_properties == Some(JSONSchemaPropsOrBool::Bool(false)) {
        // What the API server does not know in a schema; the parser refuses unknown fields.
        schema.additional_properties = None;
    }
    if is_object(schema) {
        schema.x_kubernetes_preserve_unknown_fields = Some(true);
    }
    if let Some(properties) = schema.properties.as_mut() {
        properties.values_mut().for_each(preserve_unknown_fields);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = schema.items.as_mut() {
        preserve_unknown_fields(items);
    }
}

/// Whether it has fields of its own, none included, as against a map with keys of the user's.
fn is_object(schema: &JSONSchemaProps) -> bool {
    schema.type_.as_deref() == Some("object") && schema.additional_properties.is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects_without_the_mark(schema: &JSONSchemaProps, path: &str, found: &mut Vec<String>) {
        if is_object(schema) && schema.x_kubernetes_preserve_unknown_fields != Some(true) {
            found.push(path.to_owned());
        }
        if let Some(properties) = &schema.properties {
            for (name, property) in properties {
                objects_without_the_mark(property, &format!("{path}.{name}"), found);
            }
        }
        if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
            objects_without_the_mark(items, &format!("{path}[]"), found);
        }
    }

    #[test]
    fn every_object_of_spec_keeps_unknown_fields_for_the_parser_to_refuse() {
        for definition in custom_resource_definitions() {
            let root = definition.spec.versions[0].schema.clone().unwrap().open_api_v3_schema.unwrap();
            let spec = &root.properties.unwrap()["spec"];
            let mut found = Vec::new();
            objects_without_the_mark(spec, "spec", &mut found);
            assert_eq!(found, Vec::<String>::new());
            assert!(spec.properties.as_ref().unwrap().len() >= 3, "the walk saw the real schema");
        }
    }
}

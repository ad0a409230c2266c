//! JSON Schemas of all methods.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::{
    AgentInitialize, AgentRestart, AgentShutdown, AgentStatus, EnvRollback, EnvSnapshot, EnvSwitch,
    MetricsQuery, MetricsReport, PermissionRequest, TaskAssign, TaskCancel, TaskOutput, TaskResultGet,
    TaskStatusGet, TokensUsage,
};
use crate::{NotificationMethod, RequestMethod};

/// The JSON Schemas of the params and results of all methods, as one document with shared definitions.
///
/// It is kept in this crate as `protocol.schema.json`.
pub fn schema() -> Value {
    let mut methods = Methods { generator: SchemaGenerator::default(), table: Map::new() };
    methods.request::<AgentInitialize>();
    methods.request::<AgentShutdown>();
    methods.request::<AgentStatus>();
    methods.request::<AgentRestart>();
    methods.request::<TaskAssign>();
    methods.notification::<TaskCancel>();
    methods.notification::<TaskOutput>();
    methods.request::<TaskStatusGet>();
    methods.request::<TaskResultGet>();
    methods.request::<PermissionRequest>();
    methods.request::<EnvSwitch>();
    methods.request::<EnvSnapshot>();
    methods.request::<EnvRollback>();
    methods.notification::<MetricsReport>();
    methods.request::<MetricsQuery>();
    methods.notification::<TokensUsage>();
    let Methods { mut generator, table } = methods;
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The aiswitch protocol",
        "methods": table,
        "$defs": generator.take_definitions(true),
    })
}

/// The table under construction.
struct Methods {
    generator: SchemaGenerator,
    table: Map<String, Value>,
}

impl Methods {
    fn request<M>(&mut self)
    where
        M: RequestMethod<Params: JsonSchema, Result: JsonSchema>,
    {
        let params: Schema = self.generator.subschema_for::<M::Params>();
        let result: Schema = self.generator.subschema_for::<M::Result>();
        self.table.insert(M::NAME.to_owned(), json!({"params": params, "result": result}));
    }

    fn notification<N>(&mut self)
    where
        N: NotificationMethod<Params: JsonSchema>,
    {
        let params: Schema = self.generator.subschema_for::<N::Params>();
        self.table.insert(N::NAME.to_owned(), json!({"params": params}));
    }
}

#![allow(missing_docs)]
use crate::message::*;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Validator,
    Parser,
    Detector,
    Sink,
}
impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "x")
    }
}
impl Role {
    pub fn table(self) -> &'static str {
        "x"
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory: u64,
    pub time: Duration,
    pub output: u64,
    pub state: u64,
}
impl Default for Limits {
    fn default() -> Self {
        unimplemented!()
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);
#[derive(Debug)]
pub struct Module;
impl Module {
    pub fn name(&self) -> &str {
        ""
    }
    pub fn version(&self) -> &str {
        ""
    }
    pub fn role(&self) -> Role {
        Role::Sink
    }
    pub fn hash(&self) -> Hash {
        Hash([0; 32])
    }
    pub fn settings_schema(&self) -> &Value {
        &Value::Null
    }
    pub fn state_version(&self) -> u32 {
        0
    }
    pub fn instantiate(self: &Arc<Self>, _: Limits, _: LogContext) -> Result<Instance, CallError> {
        Ok(Instance)
    }
}
#[derive(Clone, Debug)]
pub struct LogContext;
impl LogContext {
    pub fn new(_: &Arc<str>, _: &Arc<str>) -> Self {
        Self
    }
}
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettingsId(pub u32);
#[derive(Debug)]
pub struct Instance;
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("x")]
    Timeout { after: Duration },
    #[error("x")]
    WrongLength { expected: usize, got: usize },
}
impl CallError {
    pub fn code(&self) -> &'static str {
        ""
    }
}
pub struct Input<'a> {
    pub settings: SettingsId,
    pub message: &'a Message,
    pub device: Option<&'a DeviceId>,
}
pub struct Keyed<'a> {
    pub settings: SettingsId,
    pub key: &'a str,
    pub at: Timestamp,
    pub retained: bool,
    pub state: Option<&'a [u8]>,
    pub input: DetectInput<'a>,
}
pub enum DetectInput<'a> {
    Item(&'a Item),
    Message(&'a Message, Option<&'a DeviceId>),
    Timer,
    DeafSince(Timestamp),
    Reconfigured,
    Removed,
}
pub struct Step {
    pub state: Option<Vec<u8>>,
    pub wake_at: Option<Timestamp>,
    pub outputs: Vec<Item>,
    pub ask: bool,
    pub ignored: Option<Rejection>,
}
pub struct Companions {
    pub also: Vec<String>,
    pub channel: Option<String>,
    pub ask: Option<Publication>,
}
impl Instance {
    pub fn configure(&mut self, _: SettingsId, _: &str) -> Result<Result<(), String>, CallError> {
        Ok(Ok(()))
    }
    pub fn validate(&mut self, _: &[Input<'_>]) -> Result<Vec<Result<(), Rejection>>, CallError> {
        Ok(vec![])
    }
    pub fn parse(
        &mut self,
        _: &[Input<'_>],
    ) -> Result<Vec<Result<Vec<Item>, Rejection>>, CallError> {
        Ok(vec![])
    }
    pub fn companions_of(&mut self, _: SettingsId, _: &str) -> Result<Companions, CallError> {
        unimplemented!()
    }
    pub fn detect(&mut self, _: &[Keyed<'_>]) -> Result<Vec<Result<Step, Rejection>>, CallError> {
        Ok(vec![])
    }
}

#[derive(Debug)]
pub struct Engine;
#[derive(Default)]
pub struct EngineOptions;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct EngineError;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct LoadError;
impl Engine {
    pub fn new(_: Option<std::path::PathBuf>, _: EngineOptions) -> Result<Self, EngineError> {
        Ok(Self)
    }
    pub fn load(&self, _: &[u8]) -> Result<Arc<Module>, LoadError> {
        Err(LoadError)
    }
}
impl Instance {
    pub fn encode(
        &mut self,
        _: SettingsId,
        _: Option<&[u8]>,
        _: &[super::sink::Delivery],
    ) -> Result<super::sink::Encoding, CallError> {
        unimplemented!()
    }
    pub fn conclude(
        &mut self,
        _: SettingsId,
        _: Option<&[u8]>,
        _: &[super::sink::Delivery],
        _: &super::sink::Response,
    ) -> Result<super::sink::Conclusion, CallError> {
        unimplemented!()
    }
}
pub mod shipped {
    pub fn modules() -> Vec<(String, std::borrow::Cow<'static, [u8]>)> {
        vec![]
    }
}

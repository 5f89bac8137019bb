//! Tapline from end to end: the real program between a real Mosquitto and a stand-in for Odoo.
//!
//! One binary, a module per subject. `cargo xtask test` builds what it needs.

mod access;
mod acknowledgements;
mod aside;
mod backup;
mod batches;
mod brokers;
mod clocks;
mod commands;
mod dead_letters;
mod decisions;
mod erp_faults;
mod explain;
mod files;
mod floods;
mod halt;
mod hostile;
mod isolation;
mod kills;
mod look;
mod metrics;
mod net_broker;
mod net_proxy;
mod odoo;
mod odoo_records;
mod paths;
mod poison;
mod publish;
mod push;
mod races;
mod reachability;
mod reload_load;
mod replay;
mod restarts;
mod revisions;
mod routes;
mod secrets;
mod sites;
mod speed;
mod status;
mod stops;
mod storage_clocks;
mod storage_faults;
mod storage_kills;
mod structure;

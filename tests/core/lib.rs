//! Tests of dekker-core in native code. All of them are in `tests`.

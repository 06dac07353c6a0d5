//! The functions of `found.js`, which create the objects that JavaScript gets. Byte arrays are views of this module's memory, which they copy.

use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(raw_module = "./found.js")]
extern "C" {
    /// `within` has the names of forms, each followed by a line end. `removed` is how many of the last bytes each reading of the value is without,
    /// the most probable reading first.
    #[wasm_bindgen(js_name = value)]
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn make_value(
        key: Option<&[u8]>,
        revision: Option<f64>,
        bytes: &[u8],
        form: &str,
        within: &str,
        line: f64,
        offset: f64,
        content: &str,
        removed: &[u8],
        cut_short: bool,
        crlf_undone: bool,
    ) -> JsValue;

    #[wasm_bindgen(js_name = fault)]
    pub(crate) fn make_fault(
        key: Option<&[u8]>,
        form: Option<&str>,
        within: &str,
        line: f64,
        offset: f64,
        error: &str,
        command: Option<&str>,
    ) -> JsValue;

    #[wasm_bindgen(js_name = resource)]
    pub(crate) fn make_resource(resource: &str, certain: bool) -> JsValue;
}

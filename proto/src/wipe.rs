//! Messages that carry a plaintext wipe it when they are dropped, clones included.

use zeroize::Zeroize;

use crate::kms::{v1beta1, v2};
use crate::values;

macro_rules! wipe_on_drop {
    ($($message:ty { $field:ident })*) => {$(
        impl Drop for $message {
            fn drop(&mut self) {
                // With length 0, the whole buffer is spare capacity, which is wiped as one block instead of byte by byte.
                self.$field.clear();
                self.$field.zeroize();
            }
        }
    )*};
}

wipe_on_drop! {
    v2::EncryptRequest { plaintext }
    v2::DecryptResponse { plaintext }
    v1beta1::EncryptRequest { plain }
    v1beta1::DecryptResponse { plain }
    values::Outcome { value }
}

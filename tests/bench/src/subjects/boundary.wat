;; The minimum that a component must do to write and read a value: receive the value and its storage key, have the host seal or open the value, and
;; return the result. It has no engine, no envelope and no counts. Its nonces are a simple counter, and its allocator never frees memory.
(component
  (import "dekker:crypto/keys@0.2.0" (instance $keys
    (type $source-type' (enum "aes-gcm-key" "hkdf-sha256-xnonce-aes-gcm-seed"))
    (export "dek-source-type" (type $source-type (eq $source-type')))
    (type $open-error' (enum "too-short" "failed"))
    (export "open-error" (type $open-error (eq $open-error')))
    (type $bytes (list u8))
    (export "opening-key" (type $opening (sub resource)))
    (export "[method]opening-key.open"
      (func (param "self" (borrow $opening)) (param "aad" $bytes) (param "sealed" $bytes)
        (result (result $bytes (error $open-error)))))
    (export "sealing-key" (type $sealing (sub resource)))
    (export "[static]sealing-key.generate"
      (func (param "source-type" $source-type) (result (own $sealing))))
    (export "[method]sealing-key.opening"
      (func (param "self" (borrow $sealing)) (result (own $opening))))
    (export "[method]sealing-key.seal"
      (func (param "self" (borrow $sealing)) (param "prefix" $bytes) (param "start" $bytes) (param "header" $bytes) (param "end" $bytes)
        (param "aad" $bytes) (param "plaintext" $bytes) (result (option $bytes))))))

  (core module $heap
    (memory (export "memory") 128)
    (global $next (export "next") (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
      (global.set $next (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $heap (instantiate $heap))
  (alias core export $heap "memory" (core memory $memory))
  (alias core export $heap "realloc" (core func $realloc))
  (core func $open (canon lower (func $keys "[method]opening-key.open") (memory $memory) (realloc $realloc)))
  (core func $generate (canon lower (func $keys "[static]sealing-key.generate")))
  (core func $opening (canon lower (func $keys "[method]sealing-key.opening")))
  (core func $seal (canon lower (func $keys "[method]sealing-key.seal") (memory $memory) (realloc $realloc)))

  (core module $main
    (import "heap" "memory" (memory 128))
    (import "heap" "next" (global $next (mut i32)))
    (import "keys" "open" (func $open (param i32 i32 i32 i32 i32 i32)))
    (import "keys" "generate" (func $generate (param i32) (result i32)))
    (import "keys" "opening" (func $opening (param i32) (result i32)))
    (import "keys" "seal" (func $seal (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (global $sealing-key (mut i32) (i32.const 0))
    (global $opening-key (mut i32) (i32.const 0))
    (func (export "begin")
      (global.set $sealing-key (call $generate (i32.const 0)))
      (global.set $opening-key (call $opening (global.get $sealing-key))))
    ;; The nonce is at address 16: 4 zero bytes, then the number of the value. The host also puts the nonce before the ciphertext. The result's
    ;; pointer and length are at 4 and 8.
    (func (export "to-storage") (param $key i32) (param $key-len i32) (param $value i32) (param $len i32) (result i32)
      (i64.store (i32.const 20) (i64.add (i64.load (i32.const 20)) (i64.const 1)))
      (call $seal (global.get $sealing-key) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 16) (i32.const 12) (i32.const 0) (i32.const 0)
        (local.get $key) (local.get $key-len) (local.get $value) (local.get $len) (i32.const 0))
      (if (i32.ne (i32.load8_u (i32.const 0)) (i32.const 1)) (then unreachable))
      (global.set $next (i32.const 1024))
      (i32.const 4))
    (func (export "from-storage") (param $key i32) (param $key-len i32) (param $value i32) (param $len i32) (result i32)
      (call $open (global.get $opening-key)
        (local.get $key) (local.get $key-len) (local.get $value) (local.get $len) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then unreachable))
      (global.set $next (i32.const 1024))
      (i32.const 4)))
  (core instance $main (instantiate $main
    (with "heap" (instance $heap))
    (with "keys" (instance
      (export "open" (func $open))
      (export "generate" (func $generate))
      (export "opening" (func $opening))
      (export "seal" (func $seal))))))

  (func (export "begin") (canon lift (core func $main "begin")))
  (func (export "to-storage") (param "key" (list u8)) (param "value" (list u8)) (result (list u8))
    (canon lift (core func $main "to-storage") (memory $memory) (realloc $realloc)))
  (func (export "from-storage") (param "key" (list u8)) (param "value" (list u8)) (result (list u8))
    (canon lift (core func $main "from-storage") (memory $memory) (realloc $realloc))))

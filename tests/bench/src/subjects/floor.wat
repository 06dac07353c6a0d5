;; The least that a component can do for a value which it never sees. It counts the nonces, and nothing else: it has no engine and no envelope, and
;; does not look which key opens a value.
;;
;; Two ways to let the host seal and open. In the first, the component calls the host for each value. In the second it returns a plan, here only the
;; nonce's counter or the number of a key, and the host carries the plan out after the call.
(component
  (import "host" (instance $host
    (export "seal" (func (param "counter" u64) (param "value" u32) (result bool)))
    (export "open" (func (param "value" u32) (result bool)))))
  (core func $seal (canon lower (func $host "seal")))
  (core func $open (canon lower (func $host "open")))

  (core module $main
    (import "host" "seal" (func $seal (param i64 i32) (result i32)))
    (import "host" "open" (func $open (param i32) (result i32)))
    (memory (export "memory") 1)
    (global $counter (mut i64) (i64.const 0))
    (func $next (result i64)
      (global.set $counter (i64.add (global.get $counter) (i64.const 1)))
      (global.get $counter))

    ;; The first way. A batch ends with the first value that fails.
    (func $write (export "to-storage") (param $value i32) (result i32)
      (call $seal (call $next) (local.get $value)))
    (func $read (export "from-storage") (param $value i32) (result i32)
      (call $open (local.get $value)))
    (func (export "to-storage-many") (param $count i32) (result i32)
      (local $value i32)
      (block $failed
        (loop $again
          (br_if $failed (i32.eqz (call $write (local.get $value))))
          (local.set $value (i32.add (local.get $value) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $value) (local.get $count))))
        (return (i32.const 1)))
      (i32.const 0))
    (func (export "from-storage-many") (param $count i32) (result i32)
      (local $value i32)
      (block $failed
        (loop $again
          (br_if $failed (i32.eqz (call $read (local.get $value))))
          (local.set $value (i32.add (local.get $value) (i32.const 1)))
          (br_if $again (i32.lt_u (local.get $value) (local.get $count))))
        (return (i32.const 1)))
      (i32.const 0))

    ;; The second way. The list of a batch is at address 8, and its pointer and length at 0.
    (func (export "plan-write") (param $value i32) (result i64)
      (call $next))
    (func (export "plan-read") (param $value i32) (result i32)
      (local.get $value))
    (func (export "plan-writes") (param $count i32) (result i32)
      (local $value i32)
      (loop $again
        (i64.store
          (i32.add (i32.const 8) (i32.shl (local.get $value) (i32.const 3)))
          (call $next))
        (local.set $value (i32.add (local.get $value) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $value) (local.get $count))))
      (i32.store (i32.const 0) (i32.const 8))
      (i32.store (i32.const 4) (local.get $count))
      (i32.const 0))
    (func (export "plan-reads") (param $count i32) (result i32)
      (local $value i32)
      (loop $again
        (i32.store
          (i32.add (i32.const 8) (i32.shl (local.get $value) (i32.const 2)))
          (local.get $value))
        (local.set $value (i32.add (local.get $value) (i32.const 1)))
        (br_if $again (i32.lt_u (local.get $value) (local.get $count))))
      (i32.store (i32.const 0) (i32.const 8))
      (i32.store (i32.const 4) (local.get $count))
      (i32.const 0)))
  (core instance $main (instantiate $main
    (with "host" (instance
      (export "seal" (func $seal))
      (export "open" (func $open))))))
  (alias core export $main "memory" (core memory $memory))

  (func (export "to-storage") (param "value" u32) (result bool) (canon lift (core func $main "to-storage")))
  (func (export "from-storage") (param "value" u32) (result bool) (canon lift (core func $main "from-storage")))
  (func (export "to-storage-many") (param "count" u32) (result bool) (canon lift (core func $main "to-storage-many")))
  (func (export "from-storage-many") (param "count" u32) (result bool) (canon lift (core func $main "from-storage-many")))
  (func (export "plan-write") (param "value" u32) (result u64) (canon lift (core func $main "plan-write")))
  (func (export "plan-read") (param "value" u32) (result u32) (canon lift (core func $main "plan-read")))
  (func (export "plan-writes") (param "count" u32) (result (list u64))
    (canon lift (core func $main "plan-writes") (memory $memory)))
  (func (export "plan-reads") (param "count" u32) (result (list u32))
    (canon lift (core func $main "plan-reads") (memory $memory))))

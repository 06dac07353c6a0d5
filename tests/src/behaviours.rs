//! The behaviour suite: one function for each behaviour that every face of the engine must show, collected in one table.

mod answers;
mod cache;
mod calls;
mod counts;
mod half_written;
mod health;
mod kms_v1;
mod life;
mod local;
mod read_only;
mod reading;
mod reload;
mod show;
mod sleep;
mod writing;

#[cfg(feature = "component")]
use std::io::Write;

use crate::face::Maker;
#[cfg(feature = "component")]
use crate::face::Missing;

/// One behaviour.
#[derive(Clone, Copy)]
pub struct Behaviour {
    /// The name of its function, which reads as a sentence.
    pub name: &'static str,
    /// Checks the behaviour on a face. Panics if the face behaves differently.
    pub check: fn(&dyn Maker),
}

/// Passes the names of all behaviours to a macro: `with_behaviours!((callback) arguments)` expands to `callback! { arguments group { name … } … }`.
#[macro_export]
macro_rules! with_behaviours {
    (($($callback:tt)+) $($arguments:tt)*) => {
        $($callback)+! {
            $($arguments)*
            writing {
                ten_thousand_writes_cost_one_encrypt
                nonces_count_up_from_a_billion_and_one
                stored_value_is_a_prefix_and_an_encrypted_object
                seed_value_carries_info_and_nonce
                every_size_reads_back
                wrong_key_and_altered_bytes_are_one_error
                malformed_values_are_refused
                faces_make_the_same_bytes
            }
            kms_v1 {
                each_write_has_its_own_dek
                stored_form_of_kms_v1_matches_upstream
                values_of_kms_v1_are_read_with_the_cached_dek
                read_without_the_dek_asks_once_and_fails_with_the_plugins_error
                dek_of_kms_v1_reads_cbc_as_stale
                negative_cachesize_keeps_no_dek
                cachesize_bounds_the_deks_kept
                wrong_location_is_one_opaque_error_in_kms_v1
                malformed_values_of_kms_v1_are_clean_errors
                writes_of_kms_v1_fail_with_the_plugin
                error_without_a_grpc_status_is_its_message
                cancelled_write_of_kms_v1_leaves_nothing
                encrypted_dek_must_fit_its_length_field
                health_of_kms_v1_is_encrypt_then_decrypt
                status_shows_the_last_answer_of_kms_v1
                checks_are_separate_when_kms_v1_is_used
                kms_v1_counts_twice_in_the_grace_period
                unchanged_kms_v1_provider_keeps_its_cache
            }
            local {
                local_providers_write_their_own_layout
                local_values_of_every_size_round_trip
                first_local_key_writes_and_later_ones_read_stale
                providers_that_share_a_prefix_are_all_tried
                only_aesgcm_binds_a_value_to_its_key
                altered_local_value_is_one_opaque_error
                short_local_value_is_a_clean_error
                local_nonces_are_random
                local_providers_serve_beside_a_plugin
                key_names_with_colons_are_whole
                recorded_value_of_k3s_is_readable
                earlier_key_whose_name_begins_alike_does_not_stop_the_read
            }
            reading {
                both_source_types_are_readable
                value_of_another_process_is_fresh_while_the_key_id_is_the_same
                read_is_stale_after_key_id_change
                value_of_a_later_provider_is_stale
                state_of_a_value_says_how_a_write_would_differ
                identity_first_writes_plaintext_and_reads_encrypted_values
                identity_drops_its_error_in_a_list
                plaintext_without_identity_has_no_matching_prefix
                resource_without_a_rule_is_plaintext
                most_exact_rule_serves_a_resource
                same_resource_in_two_rules_appends_providers
                failing_provider_does_not_stop_the_search
                recorded_ciphertexts_are_readable
            }
            cache {
                concurrent_reads_of_one_dek_cost_one_decrypt
                failed_decrypt_wakes_every_waiter
                least_recently_used_dek_leaves_a_full_cache
                reads_continue_while_the_plugin_is_down
                rotated_dek_reads_without_the_plugin
                unusable_dek_from_the_plugin_is_a_plugin_error
                wrong_dek_from_the_plugin_is_not_kept
                same_ciphertext_under_another_key_id_is_another_dek
                same_ciphertext_with_other_annotations_is_another_dek
                cache_is_counted
            }
            life {
                operations_park_until_the_first_probe_ends
                operations_fail_after_a_failed_first_probe_until_one_succeeds
                plugin_is_polled_every_60_seconds_or_every_10_while_unhealthy
                poll_interval_begins_at_the_answer
                writes_end_three_minutes_after_the_last_good_status_was_sent
                expired_dek_writes_again_after_one_good_status
                failed_rotation_coasts_on_the_old_dek
                dek_rotates_when_status_and_encrypt_agree
                seed_rotates_as_a_key_does
                unhealthy_answer_extends_the_life_only_if_coasting_as_upstream
                new_dek_that_does_not_decrypt_is_never_used
                write_dek_is_replaced_after_a_restore_before_the_next_write
                unfinished_dek_at_a_restore_is_never_used
                writes_after_a_restore_are_refused_while_the_plugin_is_down
            }
            sleep {
                write_after_a_sleep_waits_for_the_overdue_poll
                write_during_a_probe_waits_for_its_end
                write_fails_at_once_when_the_plugin_was_just_asked
                operation_waits_for_at_most_one_answer
                probe_from_before_a_sleep_is_discarded
                good_answer_that_is_too_late_is_requested_again
                operations_wait_for_the_first_dek_when_its_poll_is_overdue
                read_after_a_sleep_does_not_wait_for_an_earlier_call
                malformed_value_after_a_sleep_fails_at_once
                health_after_a_sleep_is_the_plugins_current_health
                waiting_writes_are_bounded
            }
            answers {
                invalid_status_has_upstreams_error_text
                longest_key_id_is_accepted
                upgraded_plugin_is_accepted_with_a_new_dek
                downgraded_plugin_is_an_error_once
                version_change_is_an_error_if_coasting_as_upstream
                invalid_encrypt_answer_is_never_used
                garbage_ciphertext_is_never_used
                texts_of_the_plugin_are_truncated_and_sanitized
                invalid_key_ids_are_counted
            }
            health {
                checks_collapse_into_one
                collapsed_check_names_each_unhealthy_provider
                good_answer_is_used_again_for_20_seconds
                bad_answer_is_used_again_for_3_seconds
                failed_status_is_shown_without_prefix_when_it_is_used_again
                health_check_is_a_poll
                concurrent_health_checks_share_one_probe
                health_check_waits_for_the_slowest_provider
            }
            calls {
                calls_end_at_their_deadline_without_an_answer
                deadline_is_the_providers_timeout
                answers_to_unknown_or_ended_calls_are_ignored
                late_answer_is_ignored
                answer_of_another_kind_is_ignored
                only_the_first_answer_counts
                cancelled_operation_has_no_result
                cancelled_read_does_not_cancel_others
                operation_id_in_use_is_refused
                too_many_waiting_operations_are_refused
                too_many_waiting_bytes_are_refused
                overloaded_read_makes_no_plugin_call
                silent_plugin_leaves_room_for_operations_of_other_plugins
                time_never_goes_back
                answers_just_before_the_deadline_are_accepted
            }
            reload {
                good_file_takes_over
                invalid_file_is_refused_at_once
                unhealthy_candidate_is_refused_after_its_grace_period
                candidate_takes_over_once_it_is_healthy
                slow_candidate_takes_over_when_it_answers
                unchanged_provider_keeps_its_dek_and_cache
                changed_provider_is_a_new_provider
                reads_under_way_end_on_the_old_configuration
                operations_of_the_old_configuration_end_with_its_grace_period
                newer_file_replaces_a_pending_candidate
                newer_candidate_keeps_the_probe_of_the_older
                reload_of_the_running_file_ends_a_pending_candidate
                invalid_file_leaves_a_pending_candidate_alone
                health_follows_the_running_configuration
                reload_of_an_unhealthy_but_unchanged_provider_waits_for_it
            }
            half_written {
                truncated_file_is_refused_or_its_losses_are_reported
                half_written_rotation_is_refused_or_its_losses_are_reported
                unreadable_values_are_reported_by_their_prefix
            }
            show {
                status_shows_each_provider
                status_before_the_first_answer
                operations_are_counted_as_upstream_counts_them
                series_are_bounded
                no_text_holds_a_key_id_or_a_secret
                a_key_id_in_a_plugins_text_is_shown_as_its_hash
                inspection_needs_no_key
                inspection_of_a_damaged_value_reports_what_is_known
                all_errors_of_a_file_are_reported_together
                mistakes_in_configurations_are_named
            }
            read_only {
                read_only_engine_decrypts_and_sends_no_encrypt
                read_only_engine_reads_whatever_status_says
                read_only_engine_reads_before_status_is_answered
                read_only_engine_decrypts_each_dek_once
                read_only_engine_refuses_every_write
                state_in_a_read_only_engine_follows_status
                health_of_a_read_only_engine_is_that_of_status
                status_of_a_read_only_engine_has_no_write_dek
                read_only_engine_takes_a_file_whose_plugins_are_unhealthy
                read_only_engine_replaces_nothing_after_a_restore
                kms_v1_in_a_read_only_engine_is_never_probed
                read_only_engine_never_encrypts_however_long_it_runs
            }
            counts {
                local_values_count_for_the_provider_and_for_each_key
                resources_without_a_rule_are_not_counted
                failed_calls_are_counted_by_their_code
                abandoned_operation_counts_as_canceled
                operation_that_a_reload_ends_counts_as_failed
                each_key_id_has_its_count_and_its_times
                cache_size_has_each_dek_that_wrote_or_was_decrypted
                cache_sizes_of_providers_with_one_name_are_added
                kms_v1_counts_arrivals_and_the_fill_of_its_cache
                series_with_names_from_the_file_are_bounded
            }
        }
    };
}

macro_rules! table {
    ($($group:ident { $($name:ident)* })*) => {
        /// Every behaviour.
        pub const ALL: &[Behaviour] = &[
            $($(Behaviour { name: stringify!($name), check: $group::$name },)*)*
        ];
    };
}

with_behaviours!((table));

/// Defines a `#[test]` for each behaviour, in a module for each group. The argument is a function that gets the behaviour's name and checks it on
/// the face, such as `|name| check(name, &MAKER)`.
#[macro_export]
macro_rules! face_tests {
    (@tests $($group:ident { $($name:ident)* })*) => {
        $(mod $group {
            $(
                #[test]
                fn $name() {
                    super::check_on_face(stringify!($name));
                }
            )*
        })*
    };
    ($check:expr) => {
        fn check_on_face(name: &str) {
            let check: fn(&str) = $check;
            check(name);
        }

        $crate::with_behaviours! { ($crate::face_tests) @tests }
    };
}

/// Checks the behaviour with this name.
///
/// # Panics
/// Panics if no behaviour has this name, or if the face behaves differently.
pub fn check(name: &str, maker: &dyn Maker) {
    let behaviour = ALL.iter().find(|behaviour| behaviour.name == name);
    (behaviour.expect("a behaviour of that name").check)(maker);
}

/// Checks the behaviour with this name on a component. If the component was not found, prints this and returns.
///
/// # Panics
/// Panics as [`check`] does, and in CI if the component was not found.
#[cfg(feature = "component")]
pub fn check_if_found(name: &str, maker: &Result<impl Maker, Missing>) {
    match maker {
        Ok(maker) => check(name, maker),
        Err(missing) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("{missing}")
        }
        Err(missing) => {
            // Bypasses the capture of the test harness, so that people see it.
            let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {missing}");
        }
    }
}

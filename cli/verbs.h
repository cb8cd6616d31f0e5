// The verbs of the command line, one file each. Every function adds its subcommand to `app`; when
// the verb has run, `exit_code` holds the status (0 unless it says otherwise). Errors are thrown.
#pragma once

#include <CLI/CLI.hpp>

namespace pareto {

void add_list_verb(CLI::App& app, int& exit_code);
void add_machine_verb(CLI::App& app, int& exit_code);
void add_check_verb(CLI::App& app, int& exit_code);
void add_time_verb(CLI::App& app, int& exit_code);
void add_plan_verb(CLI::App& app, int& exit_code);
void add_run_verb(CLI::App& app, int& exit_code);
void add_merge_verb(CLI::App& app, int& exit_code);
void add_show_verb(CLI::App& app, int& exit_code);
void add_compare_verb(CLI::App& app, int& exit_code);
void add_plot_verb(CLI::App& app, int& exit_code);
void add_export_verb(CLI::App& app, int& exit_code);
void add_repro_verb(CLI::App& app, int& exit_code);
void add_eval_verb(CLI::App& app, int& exit_code);
void add_bench_verb(CLI::App& app, int& exit_code);
void add_plugin_manifest_verb(CLI::App& app, int& exit_code);

}  // namespace pareto

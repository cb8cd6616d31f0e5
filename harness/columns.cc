#include "harness/columns.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "harness/errors.h"
#include "harness/json_text.h"
#include "harness/op.h"
#include "harness/registry.h"

namespace pareto {
namespace {

using nlohmann::json;
using enum ColumnType;

const std::vector<Column>& word_columns() {
  static const std::vector<Column> kColumns = {
      {"case", kText, "", "Hash of the case, 16 hex digits"},
      {"group", kText, "", "Hash of the group: cases measured together"},
      {"op", kText, "", "Operation"},
      {"variant", kText, "", "Implementation"},
      {"baseline", kBool, "", "Calls somebody else's library"},
      {"shape", kText, "", "Name of the row of sizes in the experiment"},
      {"distribution", kText, "", "How the inputs are drawn"},
      {"seed", kInteger, "1", "Seed of the inputs"},
      {"file", kText, "", "File of the inputs (distribution 'file')"},
      {"tensor", kText, "", "Group inside the file of the inputs"},
      {"input_hash", kText, "", "Hash of the inputs read from a file"},
      {"threads", kInteger, "1", "Threads of the kernel"},
      {"cache", kText, "", "Cache state: warm or cold"},
  };
  return kColumns;
}

const std::vector<Column>& measured_columns() {
  static const std::vector<Column> kColumns = {
      {"time_median_s", kReal, "s", "Time of one call, median"},
      {"time_lo_s", kReal, "s", "Lower end of the median's 95 % interval"},
      {"time_hi_s", kReal, "s", "Upper end of the median's 95 % interval"},
      {"prepare_s", kReal, "s", "Time to prepare what outlives a call"},
      {"samples", kInteger, "1", "Samples taken"},
      {"visits_s", kReal, "s", "Time between samples: contents swapped, one untimed call, checks"},
      {"calls_per_sample", kInteger, "1", "Back-to-back calls in one sample"},
      {"processes", kInteger, "1", "Processes that measured the case"},
      {"precision", kReal, "1", "Relative half width of the interval that was asked for"},
      {"budget_s", kReal, "s", "Sampling time that was allowed"},
      {"stop_reason", kText, "", "Why sampling ended: precision, budget or sample_limit"},
      {"unstable", kBool, "", "The time shows a trend"},
      {"throttled", kInteger, "1", "Samples repeated because the clock had fallen"},
      {"core_clock_hz", kReal, "s-1",
       "Effective frequency of the core (on a GPU, of its SMs) while sampling; the lowest "
       "process's"},
      {"flops", kReal, "1", "Floating-point (or integer) operations of one call"},
      {"bytes", kReal, "byte", "Bytes of one call: operands as stored, outputs"},
      {"flops_per_s", kReal, "s-1", "Operations per second"},
      {"bytes_per_s", kReal, "byte s-1", "Bytes per second"},
      {"ceiling_s", kReal, "s", "Least time by this machine's measured ceilings"},
      {"ceiling_fraction", kReal, "1", "ceiling_s divided by time_median_s"},
      {"suspect", kBool, "", "Faster than 105 % of the ceiling: left out of figures"},
      {"packed_bytes", kInteger, "byte", "Persistent operands as the variant stores them"},
      {"compression_ratio", kReal, "1", "Dense 16-bit bytes divided by bytes as stored"},
      {"allocated_bytes", kInteger, "byte", "Memory that the variant allocated"},
      {"energy_j", kReal, "J", "Energy of one call above idle"},
      {"energy_idle_w", kReal, "W", "Idle power that was subtracted"},
      {"energy_call_s", kReal, "s",
       "Time of one call while energy was measured, for seconds on end"},
      {"energy_reason", kText, "", "Why there is no energy"},
  };
  return kColumns;
}

const std::vector<Column>& check_columns() {
  static const std::vector<Column> kColumns = {
      {"bound_max", kReal, "1", "Largest kernel error divided by its bound"},
      {"bound_median", kReal, "1", "Median of kernel error divided by its bound"},
      {"rms_ratio", kReal, "1", "RMS of kernel error divided by its statistical scale"},
      {"worst_index", kInteger, "1", "Flat index of the largest error divided by bound"},
      {"n_compared", kInteger, "1", "Elements compared with the reference"},
      {"check_status", kText, "", "pass, fail, untrusted or not_checked"},
      {"check_message", kText, "",
       "What failed, why nothing was checked, or how far repeats differ"},
      {"machine", kText, "", "Id of the machine"},
      {"build", kText, "", "Id of the build: sources, compiler and flags"},
      {"library", kText, "", "Library of a baseline, with version"},
      {"group_run", kText, "", "Id of the go in which the group was measured"},
      {"operand_hash", kText, "", "Hash of the operands given to the kernel"},
      {"command", kText, "", "Command line that repeats the case"},
      {"finished_at", kText, "", "UTC time at which the case was stored"},
  };
  return kColumns;
}

void append_errors(std::vector<Column>& table, const std::string& prefix, const std::string& what) {
  table.push_back({prefix + "_rel_fro", kReal, "1", what + ": relative Frobenius norm"});
  table.push_back({prefix + "_max_abs", kReal, "1", what + ": largest"});
  table.push_back({prefix + "_rms", kReal, "1", what + ": root mean square"});
  table.push_back({prefix + "_sqnr_db", kReal, "dB",
                   what + ": signal-to-noise ratio; NaN where nothing differs"});
  table.push_back({prefix + "_cosine", kReal, "1", what + ": cosine of output and reference"});
}

ColumnType type_of(KeyKind kind) {
  switch (kind) {
    case KeyKind::kSize:
    case KeyKind::kInteger:
      return kInteger;
    case KeyKind::kReal:
      return kReal;
    case KeyKind::kWord:
      return kText;
  }
  return kText;
}

Column column_of(const Op& op, const Key& key) {
  const ColumnType type = type_of(key.kind);
  std::string help = key.help.empty() ? fmt::format("Key of {}", op.name()) : key.help;
  if (!key.nan_word.empty()) help += fmt::format(" (NaN: {})", key.nan_word);
  return {key.name, type, type == kText ? "" : "1", help};
}

Column* find_in(std::vector<Column>& table, const std::string& name) {
  const auto found =
      std::find_if(table.begin(), table.end(), [&](const Column& c) { return c.name == name; });
  return found == table.end() ? nullptr : &*found;
}

void append_keys(std::vector<Column>& table) {
  for (const Op* op : ops()) {
    for (const Key& key : op->keys()) {
      const Column column = column_of(*op, key);
      const Column* known = find_in(table, key.name);
      if (known == nullptr) {
        table.push_back(column);
      } else if (known->type != column.type) {
        throw std::logic_error(
            fmt::format("key '{}' of {} has another kind than its namesake", key.name, op->name()));
      }
    }
  }
}

void append_new(std::vector<Column>& table, const std::vector<Column>& more) {
  for (const Column& column : more) {
    if (find_in(table, column.name) != nullptr) {
      throw std::logic_error(fmt::format("two columns are named '{}'", column.name));
    }
    table.push_back(column);
  }
}

std::vector<Column> make_table() {
  std::vector<Column> table = word_columns();
  append_keys(table);
  append_new(table, measured_columns());
  append_errors(table, "total", "Total error");
  append_errors(table, "kernel", "Kernel error");
  append_errors(table, "compression", "Compression error");
  append_new(table, check_columns());
  return table;
}

json json_of(const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return *integer;
  if (const auto* word = std::get_if<std::string>(&value)) return *word;
  const double real = std::get<double>(value);
  return std::isnan(real) ? json(nullptr) : json(real);
}

bool fits(const Column& column, const json& value) {
  if (value.is_null()) return true;
  switch (column.type) {
    case kInteger:
      return value.is_number_integer();
    case kReal:
      return value.is_number();
    case kText:
      return value.is_string();
    case kBool:
      return value.is_boolean();
  }
  return false;
}

std::string kind_of(ColumnType type) {
  switch (type) {
    case kInteger:
      return "an integer";
    case kReal:
      return "a number";
    case kText:
      return "text";
    case kBool:
      return "true or false";
  }
  return "";
}

// InputError if the row, as one of another program's, lacks what every case has.
template <typename T>
T required(const json& row, const std::string& name) {
  const json value = row.value(name, json());
  if (value.is_null()) throw InputError(fmt::format("column '{}' is missing or empty", name));
  return value.get<T>();
}

// Absent text is null in result files.
std::string text_or_none(const json& row, const std::string& name) {
  const json value = row.value(name, json());
  return value.is_string() ? value.get<std::string>() : std::string();
}

}  // namespace

const std::vector<Column>& columns() {
  static const std::vector<Column> kTable = make_table();
  return kTable;
}

const Column* find_column(std::string_view name) {
  for (const Column& column : columns()) {
    if (column.name == name) return &column;
  }
  return nullptr;
}

json words_row(const Case& subject) {
  const Op& op = subject.problem.op();
  json row;
  row["case"] = subject.hash;
  row["group"] = subject.group;
  row["op"] = op.name();
  row["variant"] = subject.variant->name;
  row["baseline"] = subject.variant->baseline;
  row["library"] = subject.variant->library;
  row["shape"] = subject.shape;
  row["distribution"] = subject.source.distribution;
  row["seed"] = subject.source.seed;
  row["file"] = subject.source.file;
  row["tensor"] = subject.source.tensor;
  row["input_hash"] = subject.source.content;
  row["threads"] = subject.threads;
  row["cache"] = subject.cache;
  row["command"] = subject.command();
  for (const Key& key : op.keys()) row[key.name] = json_of(subject.problem.value(key.name));
  return row;
}

Case case_from_row(const json& row) {
  const Op& op = find_op(required<std::string>(row, "op"));
  Case subject;
  subject.variant = &find_variant(op, required<std::string>(row, "variant"));
  subject.problem = Problem(op);
  for (const Key& key : op.keys()) {
    const json value = row.value(key.name, json());
    if (value.is_string()) {
      subject.problem.set(key.name, value.get<std::string>());
    } else if (value.is_number_integer()) {
      subject.problem.set(key.name, value.get<std::int64_t>());
    } else if (value.is_number()) {
      subject.problem.set(key.name, value.get<double>());
    }
  }
  subject.source = {.distribution = required<std::string>(row, "distribution"),
                    .seed = required<std::uint64_t>(row, "seed"),
                    .file = text_or_none(row, "file"),
                    .tensor = text_or_none(row, "tensor"),
                    .content = text_or_none(row, "input_hash")};
  subject.threads = required<int>(row, "threads");
  subject.cache = required<std::string>(row, "cache");
  identify(subject);
  return subject;
}

std::string row_mismatch(const json& row) {
  for (const auto& [name, value] : row.items()) {
    const Column* column = find_column(name);
    if (column == nullptr) return fmt::format("column '{}' is unknown to this program", name);
    if (!fits(*column, value)) {
      return fmt::format("column '{}' must be {}, is {}", name, kind_of(column->type),
                         json_text(value));
    }
  }
  return "";
}

}  // namespace pareto

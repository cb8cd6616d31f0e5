#include "harness/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "harness/errors.h"
#include "harness/op.h"

namespace pareto {
namespace {

bool is_number_kind(KeyKind kind) { return kind != KeyKind::kWord; }

[[noreturn]] void throw_not_legal(const Key& key, std::string_view text) {
  if (key.kind == KeyKind::kWord) {
    throw InputError(
        fmt::format("{} = '{}' is not legal{}", key.name, text, suggestion(text, key.words)));
  }
  const std::string_view kind = key.kind == KeyKind::kReal ? "a number" : "an integer";
  const std::string word = key.nan_word.empty() ? "" : fmt::format(" or '{}'", key.nan_word);
  throw InputError(fmt::format("{} = '{}' is not legal: {} from {} to {}{}", key.name, text, kind,
                               key.min, key.max, word));
}

void check_range(const Key& key, double number, std::string_view text) {
  if (std::isnan(number)) {
    if (key.nan_word.empty()) throw_not_legal(key, text);
  } else if (number < key.min || number > key.max) {
    throw_not_legal(key, text);
  }
}

template <typename T>
bool parse_number(std::string_view text, T& number) {
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  return result.ec == std::errc() && result.ptr == text.data() + text.size();
}

// A value of the key's own alternative (an integer given for a real becomes a double).
Value convert(const Key& key, const Value& value) {
  if (key.kind == KeyKind::kReal && std::holds_alternative<std::int64_t>(value)) {
    return static_cast<double>(std::get<std::int64_t>(value));
  }
  if (const auto* word = std::get_if<std::string>(&value);
      word != nullptr && is_number_kind(key.kind)) {
    return parse_value(key, *word);
  }
  return value;
}

}  // namespace

std::string text_of(const Key& key, const Value& value) {
  if (const auto* integer = std::get_if<std::int64_t>(&value)) return fmt::format("{}", *integer);
  if (const auto* word = std::get_if<std::string>(&value)) return *word;
  const double real = std::get<double>(value);
  return std::isnan(real) ? key.nan_word : fmt::format("{}", real);
}

Value parse_value(const Key& key, std::string_view text) {
  if (key.kind == KeyKind::kWord) {
    if (std::find(key.words.begin(), key.words.end(), text) == key.words.end()) {
      throw_not_legal(key, text);
    }
    return std::string(text);
  }
  if (key.kind == KeyKind::kReal) {
    if (!key.nan_word.empty() && text == key.nan_word) {
      return std::numeric_limits<double>::quiet_NaN();
    }
    double real = 0;
    if (!parse_number(text, real) || std::isnan(real)) throw_not_legal(key, text);
    check_range(key, real, text);
    return real;
  }
  std::int64_t integer = 0;
  if (!parse_number(text, integer)) throw_not_legal(key, text);
  check_range(key, static_cast<double>(integer), text);
  return integer;
}

Problem::Problem(const Op& op) : op_(&op), values_(std::make_shared<std::vector<Value>>()) {
  values_->reserve(op.keys().size());
  for (const Key& key : op.keys()) values_->push_back(convert(key, key.default_value));
}

void Problem::assign(std::size_t index, Value value) {
  if (values_.use_count() > 1) values_ = std::make_shared<std::vector<Value>>(*values_);
  (*values_)[index] = std::move(value);
}

std::size_t Problem::index_of(std::string_view key) const {
  const auto keys = op_->keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].name == key) return i;
  }
  std::vector<std::string> names;
  for (const Key& known : keys) names.push_back(known.name);
  throw InputError(
      fmt::format("unknown key '{}' for op {}{}", key, op_->name(), suggestion(key, names)));
}

const Value& Problem::value(std::string_view key) const { return (*values_)[index_of(key)]; }

std::int64_t Problem::size(std::string_view key) const {
  return std::get<std::int64_t>(value(key));
}

double Problem::real(std::string_view key) const { return std::get<double>(value(key)); }

const std::string& Problem::word(std::string_view key) const {
  return std::get<std::string>(value(key));
}

bool Problem::is_default(std::string_view key) const {
  const std::size_t i = index_of(key);
  const Key& spec = op_->keys()[i];
  return text_of(spec, (*values_)[i]) == text_of(spec, convert(spec, spec.default_value));
}

Problem& Problem::set(std::string_view key, const Value& value) {
  const std::size_t i = index_of(key);
  const Key& spec = op_->keys()[i];
  const Value converted = convert(spec, value);
  const std::string text = text_of(spec, converted);
  const bool kind_fits =
      spec.kind == KeyKind::kWord   ? std::holds_alternative<std::string>(converted)
      : spec.kind == KeyKind::kReal ? std::holds_alternative<double>(converted)
                                    : std::holds_alternative<std::int64_t>(converted);
  if (!kind_fits) throw_not_legal(spec, text);
  if (spec.kind == KeyKind::kWord) {
    parse_value(spec, text);
  } else {
    check_range(spec,
                spec.kind == KeyKind::kReal
                    ? std::get<double>(converted)
                    : static_cast<double>(std::get<std::int64_t>(converted)),
                text);
  }
  assign(i, converted);
  return *this;
}

Problem& Problem::set_text(std::string_view key, std::string_view text) {
  const std::size_t i = index_of(key);
  assign(i, parse_value(op_->keys()[i], text));
  return *this;
}

std::string Problem::text() const {
  std::string result;
  const auto keys = op_->keys();
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (i > 0) result += ' ';
    result += keys[i].name;
    result += '=';
    result += text_of(keys[i], (*values_)[i]);
  }
  return result;
}

bool Problem::operator==(const Problem& other) const {
  return op_ == other.op_ && (op_ == nullptr || text() == other.text());
}

}  // namespace pareto

// The words of a case: keys with their kinds and defaults, and a problem as a full set of values.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace pareto {

class Op;

enum class KeyKind : std::uint8_t {
  kSize,     ///< integer ≥ min, an extent
  kInteger,  ///< integer, may be negative
  kReal,     ///< double; NaN stands for `nan_word`
  kWord,     ///< one of `words`
};

using Value = std::variant<std::int64_t, double, std::string>;

/// One key of an op: a size or an option of eval.md. Its name is its column's name.
struct Key {
  std::string name;
  KeyKind kind = KeyKind::kSize;
  Value default_value = std::int64_t{1};
  std::vector<std::string> words;  ///< kWord: the legal values
  std::string nan_word;            ///< kReal: the word that NaN stands for ("auto", "keep")
  double min = 0;                  ///< smallest legal number
  double max = 9.0e15;             ///< largest legal number
  std::string help;                ///< one line, for --help and the column's long_name
};

/// Text of a value as it is typed and hashed ("0.5", "causal", "auto").
std::string text_of(const Key& key, const Value& value);
/// Parses what a user typed; throws InputError naming key, value, limit and the nearest word.
Value parse_value(const Key& key, std::string_view text);

/// A value for every key of its op. Look-ups by name are for set-up, not for timed code. Copies
/// share their values until one is changed: a plan holds the same problem once for every variant.
class Problem {
 public:
  Problem() = default;
  /// All defaults.
  explicit Problem(const Op& op);

  [[nodiscard]] const Op& op() const { return *op_; }
  [[nodiscard]] std::int64_t size(std::string_view key) const;  ///< kSize and kInteger
  [[nodiscard]] double real(std::string_view key) const;
  [[nodiscard]] const std::string& word(std::string_view key) const;
  [[nodiscard]] const Value& value(std::string_view key) const;
  [[nodiscard]] bool is_default(std::string_view key) const;
  /// Throws InputError on an unknown key (with the nearest right one) or an illegal value.
  Problem& set(std::string_view key, const Value& value);
  Problem& set_text(std::string_view key, std::string_view text);
  /// "M=16 N=384 K=384 scheme=w8a8 …", every key in the op's order: the hashed form.
  [[nodiscard]] std::string text() const;
  bool operator==(const Problem& other) const;

 private:
  [[nodiscard]] std::size_t index_of(std::string_view key) const;
  void assign(std::size_t index, Value value);
  const Op* op_ = nullptr;
  std::shared_ptr<std::vector<Value>> values_;
};

}  // namespace pareto

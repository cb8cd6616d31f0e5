#include "harness/matrix_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <sstream>
#include <vector>

#include "harness/durable_file.h"
#include "harness/errors.h"
#include "harness/machine.h"

namespace pareto {
namespace {

// Beyond, a dense matrix takes more than 16 GiB.
constexpr std::int64_t kMostElements = std::int64_t{1} << 32;

// Lines of a file, with their number for messages.
class Lines {
 public:
  explicit Lines(const std::string& path) : path_(path) {
    refuse_special_file(path);
    in_.open(path);
    if (!in_) throw InputError(fmt::format("{}: cannot be opened", path));
  }

  // False behind the last line.
  bool next() {
    if (!std::getline(in_, line_)) return false;
    ++number_;
    if (!line_.empty() && line_.back() == '\r') line_.pop_back();
    return true;
  }
  void require(const char* what) {
    if (!next()) throw InputError(fmt::format("{}: ends before {}", path_, what));
  }
  [[nodiscard]] const std::string& text() const { return line_; }
  [[nodiscard]] bool blank() const { return line_.find_first_not_of(" \t") == std::string::npos; }
  [[noreturn]] void refuse(const std::string& what) const {
    throw InputError(fmt::format("{}:{}: {}", path_, number_, what));
  }

 private:
  std::string path_;
  std::ifstream in_;
  std::string line_;
  std::int64_t number_ = 0;
};

// The words of one line, separated by blanks or commas.
class Words {
 public:
  explicit Words(const Lines& lines) : lines_(lines), rest_(lines.text()) {}

  [[nodiscard]] bool done() {
    const std::size_t begin = rest_.find_first_not_of(" \t,");
    rest_.remove_prefix(begin == std::string_view::npos ? rest_.size() : begin);
    return rest_.empty();
  }
  template <typename T>
  T number(const char* what) {
    if (done()) lines_.refuse(fmt::format("{} is missing", what));
    // from_chars takes no plus sign, which both formats allow.
    if (rest_.size() > 1 && rest_.front() == '+' && rest_[1] != '-') rest_.remove_prefix(1);
    T value{};
    const auto result = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    const auto length = static_cast<std::size_t>(result.ptr - rest_.data());
    const bool whole = length == rest_.size() ||
                       std::string_view(" \t,").find(rest_[length]) != std::string_view::npos;
    if (result.ec != std::errc() || !whole) {
      lines_.refuse(fmt::format("{} = '{}' is not a number that fits", what,
                                rest_.substr(0, rest_.find_first_of(" \t,"))));
    }
    rest_.remove_prefix(length);
    return value;
  }
  void require_end() {
    if (!done()) lines_.refuse(fmt::format("'{}' stands behind the last number", rest_));
  }

 private:
  const Lines& lines_;
  std::string_view rest_;
};

struct Size {
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t entries = 0;
};

Size read_size(const Lines& lines) {
  Words words(lines);
  Size size;
  size.rows = words.number<std::int64_t>("rows");
  size.columns = words.number<std::int64_t>("columns");
  size.entries = words.number<std::int64_t>("entries");
  words.require_end();
  if (size.rows < 0 || size.columns < 0 || size.entries < 0) lines.refuse("a size is negative");
  if (size.rows > 0 && size.columns > kMostElements / size.rows) {
    lines.refuse(fmt::format("{} x {} elements: matrices are held densely, up to {} elements",
                             size.rows, size.columns, kMostElements));
  }
  return size;
}

enum class Symmetry : std::uint8_t { kGeneral, kSymmetric, kSkew };

struct Banner {
  bool has_values = true;
  Symmetry symmetry = Symmetry::kGeneral;
};

Banner read_banner(Lines& lines) {
  lines.require("its first line");
  std::string text = lines.text();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  std::istringstream words(text);
  std::string banner;
  std::string object;
  std::string layout;
  std::string field;
  std::string symmetry;
  words >> banner >> object >> layout >> field >> symmetry;
  if (banner != "%%matrixmarket" || object != "matrix") {
    lines.refuse("must begin with '%%MatrixMarket matrix'");
  }
  if (layout != "coordinate") {
    lines.refuse(fmt::format("layout '{}' is not taken: coordinate", layout));
  }
  if (field != "real" && field != "integer" && field != "pattern") {
    lines.refuse(fmt::format("field '{}' is not taken: real, integer or pattern", field));
  }
  Banner result{field != "pattern", Symmetry::kGeneral};
  if (symmetry == "symmetric") {
    result.symmetry = Symmetry::kSymmetric;
  } else if (symmetry == "skew-symmetric") {
    result.symmetry = Symmetry::kSkew;
  } else if (symmetry != "general") {
    lines.refuse(
        fmt::format("symmetry '{}' is not taken: general, symmetric or skew-symmetric", symmetry));
  }
  return result;
}

std::int64_t read_index(const Lines& lines, Words& words, const char* what, std::int64_t extent) {
  const auto index = words.number<std::int64_t>(what);
  if (index < 1 || index > extent) {
    lines.refuse(fmt::format("{} = {} is outside 1 … {}", what, index, extent));
  }
  return index - 1;
}

void add_entry(const Lines& lines, const Banner& banner, const Size& size,
               std::vector<double>& sums) {
  Words words(lines);
  const std::int64_t row = read_index(lines, words, "row", size.rows);
  const std::int64_t column = read_index(lines, words, "column", size.columns);
  const double value = banner.has_values ? words.number<double>("value") : 1;
  words.require_end();
  sums[static_cast<std::size_t>(row * size.columns + column)] += value;
  if (banner.symmetry == Symmetry::kGeneral) return;
  if (column > row || (column == row && banner.symmetry == Symmetry::kSkew)) {
    lines.refuse(fmt::format("row = {}, column = {}: a {} matrix stores its lower triangle",
                             row + 1, column + 1,
                             banner.symmetry == Symmetry::kSkew ? "skew-symmetric" : "symmetric"));
  }
  if (row == column) return;
  sums[static_cast<std::size_t>(column * size.columns + row)] +=
      banner.symmetry == Symmetry::kSkew ? -value : value;
}

HostTensor read_matrix_market(const std::string& path) {
  Lines lines(path);
  const Banner banner = read_banner(lines);
  do {
    lines.require("the line of sizes");
  } while (lines.blank() || lines.text().front() == '%');
  const Size size = read_size(lines);
  if (banner.symmetry != Symmetry::kGeneral && size.rows != size.columns) {
    lines.refuse(
        fmt::format("{} x {} is not square, but declared symmetric", size.rows, size.columns));
  }
  require_memory(path,
                 static_cast<double>(size.rows * size.columns) * (sizeof(double) + sizeof(float)));
  std::vector<double> sums(static_cast<std::size_t>(size.rows * size.columns));
  std::int64_t entries = 0;
  while (lines.next()) {
    if (lines.blank() || lines.text().front() == '%') continue;
    if (++entries > size.entries) {
      lines.refuse(fmt::format("more than the {} entries announced", size.entries));
    }
    add_entry(lines, banner, size, sums);
  }
  if (entries < size.entries) {
    lines.refuse(fmt::format("ends after {} of {} entries", entries, size.entries));
  }
  HostTensor matrix(DType::kF32, Shape{size.rows, size.columns});
  std::transform(sums.begin(), sums.end(), matrix.span<float>().begin(),
                 [](double sum) { return static_cast<float>(sum); });
  return matrix;
}

std::vector<std::int64_t> read_offsets(Lines& lines, const Size& size) {
  lines.require("the row offsets");
  Words words(lines);
  std::vector<std::int64_t> offset;
  for (std::int64_t i = 0; i <= size.rows; ++i) {
    offset.push_back(words.number<std::int64_t>("a row offset"));
    const std::int64_t before = i == 0 ? 0 : offset[offset.size() - 2];
    if (offset.back() < before || (i == 0 && offset.back() != 0)) {
      lines.refuse(fmt::format("row offset {} is {} behind {}: they ascend from 0", i,
                               offset.back(), before));
    }
  }
  words.require_end();
  if (offset.back() != size.entries) {
    lines.refuse(fmt::format("the last row offset is {}, but there are {} nonzeros", offset.back(),
                             size.entries));
  }
  return offset;
}

HostTensor read_smtx(const std::string& path) {
  Lines lines(path);
  lines.require("its first line");
  const Size size = read_size(lines);
  const std::vector<std::int64_t> offset = read_offsets(lines, size);
  if (size.entries > 0) lines.require("the column indices");
  require_memory(path, static_cast<double>(size.rows * size.columns));
  HostTensor pattern(DType::kU8, Shape{size.rows, size.columns});
  const std::span<std::uint8_t> set = pattern.span<std::uint8_t>();
  std::fill(set.begin(), set.end(), std::uint8_t{0});
  Words words(lines);
  for (std::int64_t row = 0; row < size.rows; ++row) {
    for (std::int64_t i = offset[static_cast<std::size_t>(row)];
         i < offset[static_cast<std::size_t>(row) + 1]; ++i) {
      const auto column = words.number<std::int64_t>("a column index");
      if (column < 0 || column >= size.columns) {
        lines.refuse(fmt::format("column index {} of row {} is outside 0 … {}", column, row,
                                 size.columns - 1));
      }
      std::uint8_t& place = set[static_cast<std::size_t>(row * size.columns + column)];
      if (place != 0) lines.refuse(fmt::format("row {} holds column {} twice", row, column));
      place = 1;
    }
  }
  if (size.entries > 0) words.require_end();
  return pattern;
}

}  // namespace

bool is_matrix_file(const std::string& path) {
  return path.ends_with(".mtx") || path.ends_with(".smtx");
}

TensorMap read_matrix_file(const std::string& path) {
  TensorMap tensors;
  if (path.ends_with(".smtx")) {
    tensors["pattern"] = read_smtx(path);
  } else {
    tensors["matrix"] = read_matrix_market(path);
  }
  return tensors;
}

}  // namespace pareto

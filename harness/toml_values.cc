#include "harness/toml_values.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "harness/durable_file.h"
#include "harness/errors.h"

namespace pareto {

namespace fs = std::filesystem;

std::string location(const std::string& path, const toml::node& node) {
  return fmt::format("{}:{}", path, node.source().begin.line);
}

void fail(const std::string& where, const std::string& message) {
  throw InputError(where + ": " + message);
}

std::string scalar_text(const std::string& where, std::string_view key, const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* integer = node.as_integer()) return fmt::format("{}", integer->get());
  if (const auto* real = node.as_floating_point()) return fmt::format("{}", real->get());
  if (const auto* flag = node.as_boolean()) return flag->get() ? "true" : "false";
  fail(where, fmt::format("{} must be a number, a word or a list of them", key));
}

std::vector<std::string> texts(const std::string& path, std::string_view key,
                               const toml::node& node) {
  const std::string where = location(path, node);
  std::vector<std::string> result;
  if (const toml::array* list = node.as_array()) {
    for (const toml::node& entry : *list) result.push_back(scalar_text(where, key, entry));
    if (result.empty()) fail(where, fmt::format("{} = [] is an empty list: nothing to sweep", key));
  } else {
    result.push_back(scalar_text(where, key, node));
  }
  return result;
}

void check_words(const std::string& where, std::string_view key,
                 const std::vector<std::string>& given, const std::vector<std::string>& known) {
  for (const std::string& word : given) {
    if (std::find(known.begin(), known.end(), word) == known.end()) {
      fail(where, fmt::format("unknown {} '{}'{}", key, word, suggestion(word, known)));
    }
  }
}

toml::table parse_toml_file(const std::string& path, std::string& text) {
  refuse_special_file(path);
  std::error_code unknown;  // the reason shows when the file is opened
  const bool folder = fs::is_directory(path, unknown);
  std::ifstream file(path);
  if (!file || folder) {
    throw InputError(fmt::format("{}: {}", path, std::strerror(folder ? EISDIR : errno)));
  }
  std::ostringstream content;
  content << file.rdbuf();
  text = content.str();
  try {
    return toml::parse(text, path);
  } catch (const toml::parse_error& error) {
    throw InputError(
        fmt::format("{}:{}: not TOML: {}", path, error.source().begin.line, error.description()));
  }
}

}  // namespace pareto

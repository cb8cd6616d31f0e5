// Reading TOML so that every complaint names the file and the line.
#pragma once

#include <toml++/toml.h>

#include <string>
#include <string_view>
#include <vector>

namespace pareto {

/// "path:line" of a node.
std::string location(const std::string& path, const toml::node& node);

/// Throws InputError "where: message".
[[noreturn]] void fail(const std::string& where, const std::string& message);

/// Text, number or flag `node` as text; any other kind of node is an InputError.
std::string scalar_text(const std::string& where, std::string_view key, const toml::node& node);

/// One scalar or a list of them as texts; an empty list is an InputError.
std::vector<std::string> texts(const std::string& path, std::string_view key,
                               const toml::node& node);

/// InputError with the nearest known word if one of `given` is not among `known`.
void check_words(const std::string& where, std::string_view key,
                 const std::vector<std::string>& given, const std::vector<std::string>& known);

/// The file as a table, and verbatim in `text`. InputError if it cannot be read or is no TOML.
toml::table parse_toml_file(const std::string& path, std::string& text);

}  // namespace pareto

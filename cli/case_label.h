// How a row of a result file is named for people.
#pragma once

#include <string>

#include "harness/result_table.h"

namespace pareto {

/// "avx512_vnni w8a8 rtn": variant and the words that vary inside a group and are not the default.
std::string inside_label(const ResultTable& table, std::size_t row);

/// "qgemm qkv M=16 N=4096 K=4096 normal seed=1 threads=2 cold": what the cases of a group share.
std::string group_label(const ResultTable& table, std::size_t row);

}  // namespace pareto

// The column of a CSV that says what its pictures show.
#pragma once
#include <string>
#include <vector>

#include "pumice/data/csv.h"

namespace pumice {

struct CsvClasses {
  std::vector<std::string> names;
  std::vector<int> labels;  // of each row, into names; -1 where the field is empty
};

// Labels are line numbers of classnames.txt when that lies beside the file, else names: the classes are the different ones in order, numbers by
// their value. Throws FormatError naming the line.
CsvClasses read_csv_classes(const CsvTable& table, const std::string& path, size_t column);

}  // namespace pumice

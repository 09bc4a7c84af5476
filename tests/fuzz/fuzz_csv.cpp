// Any text is a table whose rows are as long as its header, or a FormatError.
#include <cstdlib>

#include "pumice/data/csv.h"
#include "pumice/tensor/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    pumice::CsvTable table = pumice::parse_csv({reinterpret_cast<const char*>(data), size}, "fuzz");
    for (const auto& row : table.rows) {
      if (row.size() != table.header.size()) { std::abort(); }
    }
    pumice::column_of(table, "fuzz", "", pumice::kImageColumns, "--csv-img-key");
  } catch (const pumice::Error&) {
  }
  return 0;
}

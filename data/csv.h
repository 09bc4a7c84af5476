// CSV and TSV files of pictures and captions (RFC 4180).
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace pumice {

struct CsvTable {
  char separator = ',';
  std::vector<std::string> header;
  std::vector<std::vector<std::string>> rows;
  std::vector<int64_t> lines;  // where each row begins, for messages
};

// Quotes, line ends of every system and a UTF-8 mark are understood; the separator (tab, comma, semicolon) is the most frequent one of the header.
// Rows must be as long as the header. Throws FormatError naming the file and line.
CsvTable parse_csv(std::string_view text, const std::string& name);

// What the columns of pictures, captions and classes are usually called.
inline const std::vector<std::string> kImageColumns = {"filepath", "image", "path", "file_name", "image_name"},
                                      kCaptionColumns = {"title", "caption", "text", "comment"},
                                      kLabelColumns = {"label", "class"};

// The first of `names` that the header has.
std::optional<size_t> find_column(const CsvTable& table, const std::vector<std::string>& names);
// The column called `wanted`, or one of `synonyms` when that is empty. Throws UsageError listing the columns found and `flag`.
size_t column_of(const CsvTable& table, const std::string& name, const std::string& wanted, const std::vector<std::string>& synonyms,
                 const std::string& flag);

// One row, quoted where needed, with its newline.
std::string csv_row(const std::vector<std::string>& fields);

}  // namespace pumice

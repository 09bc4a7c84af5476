#include "pumice/data/csv.h"

#include <algorithm>

#include "pumice/data/class_folders.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file_kind.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

const char* name_of(char separator) { return separator == '\t' ? "tab" : separator == ';' ? "';'" : separator == '|' ? "'|'" : "','"; }

char sniff(std::string_view header) {
  char best = ',';
  for (char c : {'\t', ';', '|'}) {
    if (std::count(header.begin(), header.end(), c) > std::count(header.begin(), header.end(), best)) { best = c; }
  }
  return best;
}

}  // namespace

CsvTable parse_csv(std::string_view text, const std::string& name) {
  if (text.substr(0, 3) == "\xef\xbb\xbf") { text.remove_prefix(3); }
  REQUIRE(FormatError, !text.empty(), "[csv] ", name, " is empty; a header row is required");
  const std::string kind = kind_of_file(text);
  REQUIRE(FormatError, kind.empty(), "[csv] ", name, " is ", kind, "; a CSV or TSV file in UTF-8 is required");
  CsvTable table;
  table.separator = sniff(text.substr(0, std::min(text.find_first_of("\r\n"), text.size())));
  std::vector<std::string> row(1);
  int64_t line = 1, row_line = 1;
  auto finish = [&] {
    if (row.size() == 1 && row[0].empty()) { return; }  // an empty line
    if (table.separator == '|' || table.header.empty()) {  // Flickr30k's "image_name| comment"
      for (std::string& cell : row) { cell = trimmed(cell); }
    }
    if (table.header.empty()) {
      const std::string names = join(row);
      const bool binary = std::any_of(names.begin(), names.end(), [](unsigned char c) { return c < ' ' && c != '\t' && c != '\n' && c != '\r'; });
      REQUIRE(FormatError, !binary, "[csv] ", name, " is not text: its first row holds control characters; a CSV or TSV file in UTF-8 is required");
      table.header = row;
    } else {
      REQUIRE(FormatError, row.size() == table.header.size(), "[csv] ", name, " line ", row_line, ": ", row.size(), " fields, but the header has ",
              table.header.size(), " (separator ", name_of(table.separator), "). Quote fields that contain the separator");
      table.rows.push_back(row);
      table.lines.push_back(row_line);
    }
  };
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '"' && row.back().empty()) {
      const int64_t began = line;
      for (++i;; ++i) {
        REQUIRE(FormatError, i < text.size(), "[csv] ", name, " line ", began, ": a quote begins here and is never closed");
        if (text[i] == '"') {
          if (i + 1 < text.size() && text[i + 1] == '"') { ++i; }
          else { break; }
        }
        line += text[i] == '\n';
        row.back() += text[i];
      }
    } else if (c == table.separator) { row.emplace_back(); }
    else if (c == '\n' || c == '\r') {
      i += c == '\r' && i + 1 < text.size() && text[i + 1] == '\n';
      finish();
      row.assign(1, "");
      row_line = ++line;
    } else { row.back() += c; }
  }
  finish();
  return table;
}

std::optional<size_t> find_column(const CsvTable& table, const std::vector<std::string>& names) {
  auto find = [&](const std::string& name, bool exactly) {
    auto same = [&](const std::string& column) { return exactly ? column == name : ascii_lower(column) == ascii_lower(name); };
    return size_t(std::find_if(table.header.begin(), table.header.end(), same) - table.header.begin());
  };
  for (const bool exactly : {true, false}) {  // "Caption" will do where there is no "caption"
    for (const std::string& name : names) {
      if (const size_t at = find(name, exactly); at < table.header.size()) { return at; }
    }
  }
  return std::nullopt;
}

size_t column_of(const CsvTable& table, const std::string& name, const std::string& wanted, const std::vector<std::string>& synonyms,
                 const std::string& flag) {
  if (auto found = find_column(table, wanted.empty() ? synonyms : std::vector<std::string>{wanted})) { return *found; }
  const bool headless = std::any_of(table.header.begin(), table.header.end(), is_picture_name);
  REQUIRE(FormatError, !headless, "[csv] ", name, ": the first row (", join(table.header),
          ") names a picture where names of columns are required. Put a header row first, such as filepath", table.separator, "caption");
  throw UsageError(
      concat_text("[csv] ", name, ": no column '", wanted.empty() ? join(synonyms, "' or '") : wanted, "'. Columns: ", join(table.header),
                  " (separator ", name_of(table.separator), "). Try: ", flag, " ", table.header.empty() ? "NAME" : table.header[0]),
      __FILE__, __LINE__);
}

std::string csv_row(const std::vector<std::string>& fields) {
  std::string row;
  for (size_t i = 0; i < fields.size(); ++i) {
    if (i) { row += ','; }
    if (fields[i].find_first_of(",\"\r\n") == std::string::npos) {
      row += fields[i];
      continue;
    }
    row += '"';
    for (char c : fields[i]) { row += c == '"' ? "\"\"" : std::string(1, c); }
    row += '"';
  }
  return row + "\n";
}

}  // namespace pumice

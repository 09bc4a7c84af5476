#include "pumice/data/documents.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "pumice/data/gzip.h"
#include "pumice/data/pairs.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/json.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

namespace fs = std::filesystem;
constexpr int kDepth = 32;

bool is_text_file(const std::string& path) {
  return path.ends_with(".txt") || path.ends_with(".jsonl") || path.ends_with(".txt.gz") || path.ends_with(".jsonl.gz");
}

void take(std::string text, const std::string& place, Documents& d) {
  d.given += 1;
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    d.problems.left_out(place + " is blank");
    return;
  }
  if (const std::string fault = text_fault(text); !fault.empty()) {
    d.problems.left_out(place + " " + fault + "; save it as UTF-8");
    return;
  }
  d.texts.push_back(std::move(text));
}

void parse_line(std::string_view line, const std::string& place, const std::string& key, Documents& d) {
  nlohmann::json value;
  const std::string fault = parse_strict_json(line, kDepth, value);
  const auto refuse = [&](const std::string& what) {
    d.given += 1;
    d.problems.left_out(place + " " + what);
  };
  if (!fault.empty()) { return refuse(fault); }
  if (!value.is_object()) { return refuse("must be an object such as {\"" + key + "\": \"...\"}"); }
  const auto at = value.find(key);
  if (at == value.end()) {
    std::vector<std::string> keys;
    for (const auto& [name, unused] : value.items()) { keys.push_back(name); }
    return refuse("has no \"" + key + "\" but " + (keys.empty() ? "nothing" : join(keys)) + "; name the key with --text-key");
  }
  if (!at->is_string()) { return refuse("has a \"" + key + "\" that is no text"); }
  take(at->get<std::string>(), place, d);
}

void read_text_file(const std::string& path, const std::string& key, Documents& d) {
  const MappedFile file(path);
  if (!path.ends_with(".gz")) { return parse_documents(file.bytes(), path, key, d); }
  parse_documents(gunzip(file.bytes(), path), path.substr(0, path.size() - 3), key, d);
}

void read_source(const std::string& source, const std::string& key, Documents& d) {
  if (is_text_file(source)) { return read_text_file(source, key, d); }
  if (fs::is_directory(source)) {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(source)) {
      if (is_text_file(entry.path().string())) { files.push_back(entry.path().string()); }
    }
    std::sort(files.begin(), files.end());
    for (const std::string& file : files) { read_text_file(file, key, d); }
    if (!files.empty()) { return; }
  }
  try {
    const std::unique_ptr<PairSource> pairs = open_pairs(source);
    for (int64_t i = 0; i < pairs->size(); ++i) { take(pairs->caption(i), pairs->name(i), d); }
  } catch (const UsageError& e) {
    throw UsageError(concat_text(e.what(), ". Text is read from files that end in .txt or .jsonl (also .gz), or a folder of them"), e.file, e.line);
  }
}

}  // namespace

void parse_documents(std::string_view content, const std::string& name, const std::string& key, Documents& d) {
  if (name.ends_with(".jsonl")) {
    return each_line(content, [&](std::string_view line, size_t number) {
      if (!trimmed(line).empty()) { parse_line(line, concat_text(name, " line ", number), key, d); }
    });
  }
  constexpr std::string_view kEnd = "<|endoftext|>";
  for (size_t number = 1, begin = 0; begin <= content.size(); ++number) {
    const size_t end = std::min(content.find(kEnd, begin), content.size());
    const std::string_view text = content.substr(begin, end - begin);
    const bool after_the_last = end == content.size() && number > 1 && trimmed(text).empty();
    if (!after_the_last) { take(std::string(text), number == 1 && end == content.size() ? name : concat_text(name, ": document ", number), d); }
    begin = end + kEnd.size();
  }
}

Documents read_documents(const std::string& spec, const std::string& key) {
  Documents d;
  for (size_t begin = 0; begin <= spec.size();) {
    const size_t end = std::min(spec.find("::", begin), spec.size());
    read_source(spec.substr(begin, end - begin), key, d);
    begin = end + 2;
  }
  REQUIRE(FormatError, !d.texts.empty(), "[data] ", spec, " holds no text to train on", d.given ? concat_text(" among ", d.given, " documents") : "",
          d.problems.none() ? "" : ". The first problem: " + d.problems.first()[0]);
  uint64_t hash = hash_of("");
  for (const std::string& text : d.texts) { hash = hash_of(std::string_view("\0", 1), hash_of(text, hash)); }
  char fingerprint[48];
  std::snprintf(fingerprint, sizeof fingerprint, "%zu-%016llx", d.texts.size(), static_cast<unsigned long long>(hash));
  d.fingerprint = fingerprint;
  return d;
}

}  // namespace pumice

#include "pumice/data/llava_json.h"

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "pumice/tensor/file_kind.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

using Json = nlohmann::json;
constexpr int kDepth = 32;
constexpr const char* kBlank = " \t\r\n";

// What is wrong with a sample, to be put after its place.
struct Fault { std::string text; };

std::string id_of(const Json& element) {
  if (!element.is_object() || !element.contains("id")) { return ""; }
  const Json& id = element["id"];
  return id.is_string() ? id.get<std::string>() : id.is_number_integer() ? id.dump() : "";
}

std::string text_of(const Json& entry, const char* key, size_t number) {
  if (!entry.is_object() || !entry.contains(key) || !entry[key].is_string()) {
    throw Fault{concat_text("message ", number, " needs a text \"", key, "\"")};
  }
  return entry[key].get<std::string>();
}

Role role_of(const std::string& from, size_t number) {
  if (from == "human" || from == "user") { return Role::user; }
  if (from == "gpt" || from == "assistant") { return Role::assistant; }
  throw Fault{concat_text("message ", number, " is from \"", from, "\"; human or gpt is required")};
}

std::vector<std::string> images_of(const Json& element) {
  if (element.contains("video")) { throw Fault{"has a \"video\"; only pictures are read"}; }
  if (!element.contains("image") || element["image"].is_null()) { return {}; }
  const Json list = element["image"].is_array() ? element["image"] : Json::array({element["image"]});
  std::vector<std::string> images;
  for (const Json& image : list) {
    if (!image.is_string() || image.get<std::string>().empty()) { throw Fault{"needs an \"image\" that is a path, or a list of paths"}; }
    images.push_back(image.get<std::string>());
  }
  return images;
}

// Returns whether an answer stood first and was dropped.
bool read_messages(const Json& element, LlavaSample& sample) {
  if (!element.contains("conversations") || !element["conversations"].is_array()) { throw Fault{"needs a list \"conversations\""}; }
  bool dropped = false;
  size_t number = 0;
  for (const Json& entry : element["conversations"]) {
    const std::string from = text_of(entry, "from", ++number);
    std::string value = text_of(entry, "value", number);
    if (number == 1 && from == "system") {
      if (count_images(value) > 0) { throw Fault{"has <image> in its system text; pictures belong to questions"}; }
      sample.system = std::move(value);
      continue;
    }
    const Role role = role_of(from, number);
    if (role == Role::assistant && sample.messages.empty() && !dropped) {
      dropped = true;
      continue;
    }
    sample.messages.push_back({role, std::move(value)});
  }
  return dropped;
}

void check_sample(const LlavaSample& sample) {
  if (const std::string fault = fault_of(sample.messages); !fault.empty()) { throw Fault{fault}; }
  if (sample.messages.back().role == Role::user) { throw Fault{"ends with a question; training needs its answer"}; }
  int64_t marks = 0;
  for (const Message& message : sample.messages) { marks += count_images(message.text); }
  if (marks != int64_t(sample.images.size())) {
    throw Fault{concat_text("has ", sample.images.size(), sample.images.size() == 1 ? " picture" : " pictures", " and ", marks,
                            " <image> in its questions; one is required for each")};
  }
}

class Reader {
 public:
  void add(const Json& element, const std::string& where) {
    ++file_.given;
    LlavaSample sample{.id = id_of(element), .images = {}, .messages = {}, .system = {}, .place = where};
    if (!sample.id.empty()) { sample.place += " (id " + sample.id + ")"; }
    try {
      if (!element.is_object()) { throw Fault{"is no object"}; }
      sample.images = images_of(element);
      const bool dropped = read_messages(element, sample);
      check_sample(sample);
      if (dropped && beginning_with_answer_++ == 0) { first_answer_ = sample.place; }
    } catch (const Fault& fault) {
      file_.problems.left_out(sample.place + ": " + fault.text);
      return;
    }
    file_.text_only += sample.images.empty();
    file_.samples.push_back(std::move(sample));
  }

  void add_broken(const std::string& message) {
    ++file_.given;
    file_.problems.left_out(message);
  }

  LlavaFile finish(const std::string& name) {
    REQUIRE(FormatError, file_.given > 0, "[llava] ", name, " holds no samples");
    REQUIRE(FormatError, !file_.samples.empty(), "[llava] ", name, ": none of ", file_.given, " samples can be used; the first: ",
            file_.problems.first()[0]);
    if (beginning_with_answer_ > 0) {
      file_.problems.warn(concat_text("samples whose first message is an answer, which was dropped: ", beginning_with_answer_, "; the first: ",
                                      first_answer_));
    }
    return std::move(file_);
  }

 private:
  LlavaFile file_;
  int64_t beginning_with_answer_ = 0;
  std::string first_answer_;
};

void read_list(std::string_view text, const std::string& name, Reader& reader) {
  Json json;
  const std::string problem = parse_strict_json(text, kDepth, json);
  REQUIRE(FormatError, problem.empty(), "[llava] ", name, " ", problem);
  for (size_t i = 0; i < json.size(); ++i) { reader.add(json[i], concat_text(name, "[", i, "]")); }
}

void read_lines(std::string_view text, const std::string& name, Reader& reader) {
  bool first = true;
  each_line(text, [&](std::string_view line, size_t number) {
    if (line.find_first_not_of(kBlank) == std::string_view::npos) { return; }
    const std::string where = concat_text(name, " line ", number);
    Json json;
    const std::string problem = parse_strict_json(line, kDepth, json);
    REQUIRE(FormatError, !first || problem.empty(), "[llava] ", where, " ", problem,
            ". In JSONL every line is a sample; samples over several lines must stand in one list [...]");
    REQUIRE(FormatError, !first || !json.contains("annotations"), "[llava] ", name,
            " has \"annotations\": it looks like COCO captions, and conversations are required");
    first = false;
    if (problem.empty()) { reader.add(json, where); } else { reader.add_broken(where + " " + problem); }
  });
}

}  // namespace

LlavaFile parse_llava(std::string_view text, const std::string& name) {
  if (text.starts_with("\xef\xbb\xbf")) { text.remove_prefix(3); }
  const std::string kind = kind_of_file(text);
  REQUIRE(FormatError, kind.empty(), "[llava] ", name, " is ", kind, "; conversations as JSON or JSONL are required");
  const size_t begin = text.find_first_not_of(kBlank);
  REQUIRE(FormatError, begin != std::string_view::npos && (text[begin] == '[' || text[begin] == '{'), "[llava] ", name,
          " is neither a JSON list of conversations nor JSONL, with one a line");
  Reader reader;
  if (text[begin] == '[') { read_list(text, name, reader); } else { read_lines(text, name, reader); }
  return reader.finish(name);
}

bool is_llava_file(const std::string& path) {
  const std::string extension = ascii_lower(std::filesystem::path(path).extension());
  if (extension == ".jsonl") { return true; }
  if (extension != ".json") { return false; }
  std::ifstream file(path, std::ios::binary);
  char buffer[256] = {};
  file.read(buffer, sizeof buffer);
  std::string_view head(buffer, size_t(file.gcount()));
  if (head.starts_with("\xef\xbb\xbf")) { head.remove_prefix(3); }
  const size_t begin = head.find_first_not_of(kBlank);
  return begin != std::string_view::npos && head[begin] == '[';
}

}  // namespace pumice

#include "pumice/cli/conversations.h"

#include <algorithm>
#include <filesystem>
#include <memory>

#include "pumice/cli/terminal.h"
#include "pumice/data/image.h"
#include "pumice/data/llava_json.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

long long wide(int64_t n) { return static_cast<long long>(n); }

// Prints the first few of its kind, and counts all.
class Problems {
 public:
  explicit Problems(int64_t shown) : shown_(shown) {}
  void add(const std::string& message) {
    if (count_++ < shown_) { print_line(message); }
  }
  int64_t finish() const {
    if (count_ > shown_ && shown_ > 0) { print_line(format("... and %lld more", wide(count_ - shown_))); }
    return count_;
  }

 private:
  int64_t shown_, count_ = 0;
};

int64_t check_pictures(const LlavaFile& file, const std::filesystem::path& folder, int64_t shown) {
  Problems problems(shown);
  int64_t done = 0;
  for (const LlavaSample& sample : file.samples) {
    if (stop_requested()) { break; }
    for (const std::string& image : sample.images) {
      try {
        decode_image(read_file((folder / image).string()), (folder / image).string());
      } catch (const Error& e) {
        problems.add(sample.place + ": " + e.what());
      }
    }
    if (++done % 256 == 0) { print_status(format("checked %lld of %zu", wide(done), file.samples.size())); }
  }
  clear_status();
  return problems.finish();
}

EncodedConversation encode_sample(const Tokenizer& tokenizer, const LlavaSample& sample, const ConversationSettings& options) {
  return encode_conversation(tokenizer, sample.conversation(options.template_name),
                             {.max_length = options.max_length, .images = int64_t(sample.images.size())});
}

int64_t check_ids(const LlavaFile& file, int64_t shown, const ConversationSettings& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  Problems problems(shown);
  int64_t ids = 0, labels = 0, longest = 0, cut = 0;
  for (const LlavaSample& sample : file.samples) {
    try {
      const EncodedConversation e = encode_sample(tokenizer, sample, options);
      ids += int64_t(e.ids.size());
      labels += std::count_if(e.labels.begin(), e.labels.end(), [](int32_t label) { return label != kIgnoredLabel; });
      longest = std::max(longest, int64_t(e.ids.size()));
      cut += e.cut;
    } catch (const FormatError& e) {
      problems.add(e.what());
    }
  }
  const int64_t broken = problems.finish();
  print_line(format("%lld ids, %s of them trained on; the longest conversation has %lld, %lld are cut at %lld", wide(ids),
                    percent(ids ? double(labels) / double(ids) : 0).c_str(), wide(longest), wide(cut), wide(options.max_length)));
  return broken;
}

// Each line of `text` behind its mark.
void print_marked(const std::string& text, const char* mark) {
  std::string_view rest = text;
  for (size_t end = 0; end != std::string_view::npos; rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1)) {
    end = rest.find('\n');
    print_line(concat_text("    ", mark, " ", rest.substr(0, end)));
  }
}

// As print_marked() shows it, but from the ids and labels themselves.
void print_tokens(const Tokenizer& tokenizer, const EncodedConversation& e) {
  for (size_t begin = 0, end; begin < e.ids.size(); begin = end) {
    const bool trained = e.labels[begin] != kIgnoredLabel;
    std::string text;
    for (end = begin; end < e.ids.size() && (e.labels[end] != kIgnoredLabel) == trained; ++end) {
      const std::string piece = e.ids[end] == kImageToken ? std::string(kImageText) : tokenizer.decode(std::vector<int32_t>{e.ids[end]});
      text += "[" + piece + "]";
    }
    print_marked(text, trained ? ">" : "|");
  }
  print_line(format("    %zu ids, a picture as one%s", e.ids.size(), e.cut ? ", cut" : ""));
}

}  // namespace

void inspect_conversations(const std::string& path, int64_t start, int64_t count, const ConversationSettings& options) {
  const LlavaFile file = parse_llava(read_file(path), path);
  const int64_t size = int64_t(file.samples.size());
  REQUIRE(UsageError, start >= 0 && start < size && count > 0, "pumice data inspect: --start must be in [0, ", size, ") and --n positive, got ",
          start, " and ", count);
  const std::string report = file.problems.report(file.given, "samples");
  if (!report.empty()) { print_line(report); }
  const auto tokenizer = options.tokenizer.empty() ? nullptr : std::make_unique<Tokenizer>(Tokenizer::load(options.tokenizer));
  for (int64_t i = start; i < std::min(start + count, size); ++i) {
    const LlavaSample& sample = file.samples[size_t(i)];
    print_line(format("%lld  %s", wide(i), sample.place.c_str()));
    for (const std::string& image : sample.images) { print_line("    " + image); }
    if (tokenizer) {
      print_tokens(*tokenizer, encode_sample(*tokenizer, sample, options));
    } else {
      for (const ConversationPiece& piece : pieces_of(sample.conversation(options.template_name))) {
        print_marked(piece.text, piece.supervised ? ">" : "|");
      }
    }
  }
}

int check_conversations(const std::string& path, const std::string& folder, int64_t shown, const ConversationSettings& options) {
  const LlavaFile file = parse_llava(read_file(path), path);
  const std::vector<std::string>& first = file.problems.first();
  for (size_t i = 0; i < std::min(first.size(), size_t(shown)); ++i) { print_line(first[i]); }
  int64_t turns = 0, images = 0;
  for (const LlavaSample& sample : file.samples) {
    turns += int64_t(sample.messages.size()) / 2;
    images += int64_t(sample.images.size());
  }
  const std::filesystem::path beside = std::filesystem::path(path).parent_path();
  const int64_t unreadable = check_pictures(file, folder.empty() ? beside : std::filesystem::path(folder), shown);
  print_line(format("%zu conversations of %lld turns, %lld without a picture; %lld pictures, %lld unreadable", file.samples.size(), wide(turns),
                    wide(file.text_only), wide(images), wide(unreadable)));
  const std::string report = file.problems.report(file.given, "samples");
  if (!report.empty()) { print_line(report); }
  const int64_t broken = options.tokenizer.empty() ? 0 : check_ids(file, shown, options);
  return unreadable || broken || !report.empty() ? 1 : 0;
}

}  // namespace pumice

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

int64_t check_ids(const LlavaFile& file, int64_t shown, const ConversationCheck& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.tokenizer);
  Problems problems(shown);
  int64_t ids = 0, labels = 0, longest = 0, cut = 0;
  for (const LlavaSample& sample : file.samples) {
    try {
      const EncodedConversation e = encode_conversation(tokenizer, sample.conversation(options.template_name),
                                                        {.max_length = options.max_length, .images = int64_t(sample.images.size())});
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

}  // namespace

int check_conversations(const std::string& path, const std::string& folder, int64_t shown, const ConversationCheck& options) {
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

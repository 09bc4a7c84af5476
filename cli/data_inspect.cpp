#include <algorithm>
#include <cstring>
#include <map>

#include "pumice/cli/command.h"
#include "pumice/cli/conversations.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/conversation_templates.h"
#include "pumice/data/image.h"
#include "pumice/data/llava_json.h"
#include "pumice/data/loader.h"
#include "pumice/data/pairs.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

void declare_source(OptionTable& o, PairOptions& options) {
  o.add("csv-img-key", options.image_column, "Input", "CSV: the column of picture paths; default: filepath, image, path, file_name or image_name");
  o.add("csv-caption-key", options.caption_column, "Input", "CSV: the column of captions; default: title, caption, text or comment");
  o.add("csv-label-key", options.label_column, "Input", "CSV: the column of classes; default: label or class, if there is one");
  o.add("image-folder", options.image_folder, "Input", "where relative picture paths of a CSV or JSON start; default: beside the file");
  o.add("split", options.split, "Input", "of sources that have several");
}

void declare_conversations(OptionTable& o, ConversationSettings& settings) {
  o.add("template", settings.template_name, "Conversations", join(conversation_template_names()));
  o.add("max-length", settings.max_length, "Conversations", "ids of a conversation, a picture as one; what is longer would be cut");
}

std::unique_ptr<PairSource> open_argument(const Command& command, const std::vector<std::string>& arguments, const PairOptions& options) {
  REQUIRE(UsageError, arguments.size() == 1, "pumice ", command.name(), ": one source of pairs is required (shards, CSV, JSON or a folder), got ",
          arguments.size());
  return open_pairs(arguments[0], options);
}

// Pictures side by side, `columns` in a row, with a gap of 4 pixels.
class Sheet {
 public:
  Sheet(int64_t count, int size, int columns) : size_(size), columns_(int(std::min<int64_t>(columns, count))) {
    const int rows = int((count + columns_ - 1) / columns_);
    image_.width = columns_ * (size + kGap) + kGap;
    image_.height = rows * (size + kGap) + kGap;
    image_.rgb.assign(size_t(image_.width) * size_t(image_.height) * 3, 255);
  }
  void put(int64_t place, const Image& picture) {
    const int64_t left = kGap + (place % columns_) * (size_ + kGap), top = kGap + (place / columns_) * (size_ + kGap);
    for (int64_t y = 0; y < size_; ++y) {
      std::memcpy(&image_.rgb[size_t(((top + y) * image_.width + left) * 3)], &picture.rgb[size_t(y * size_ * 3)], size_t(size_) * 3);
    }
  }
  std::string png() const { return encode_png(image_); }

 private:
  static constexpr int kGap = 4;
  int size_, columns_;
  Image image_;
};

class DataInspect : public Command {
 public:
  std::string name() const override { return "data inspect"; }
  std::string summary() const override { return "show pairs or conversations as the model will see them"; }
  std::string positional() const override { return "SOURCE"; }
  std::string examples() const override {
    return "  pumice data inspect train.csv --n 16 --size 64 --out sheet.png\n"
           "  pumice data inspect 'train-{000000..000004}.tar' --tokenizer runs/a/checkpoints/latest/tokenizer.json\n"
           "  pumice data inspect llava.json --template phi\n";
  }
  void declare(OptionTable& o) override {
    declare_source(o, options_);
    o.add("exif-orientation", decoding_.exif_orientation, "Input", "turn pictures as their EXIF data says").alias("exif-rotate");
    o.add("n", count_, "Output", "how many pairs");
    o.add("start", start_, "Output", "the first one");
    o.add("size", size_, "Output", "pixels per side that pictures are resized to");
    o.add("tokenizer", tokenizer_, "Output", "a tokenizer file or a directory with one: show captions and answers as its tokens");
    declare_conversations(o, conversations_);
    o.add("text-length", text_length_, "Output", "most tokens of a caption, end-of-text included");
    o.add("out", out_, "Output", "write the pictures as one PNG, row by row in the order printed");
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    if (arguments.size() == 1 && is_llava_file(arguments[0])) {
      REQUIRE(UsageError, out_.empty(), "pumice data inspect: --out writes the pictures of pairs; ", arguments[0], " holds conversations");
      conversations_.tokenizer = tokenizer_;
      inspect_conversations(arguments[0], start_, count_, conversations_);
      return 0;
    }
    std::unique_ptr<PairSource> source = open_argument(*this, arguments, options_);
    REQUIRE(UsageError, start_ >= 0 && start_ < source->size() && count_ > 0 && size_ > 0 && size_ <= 1024,
            "pumice data inspect: --start must be in [0, ", source->size(), "), --n positive and --size in [1, 1024], got ", start_, ", ", count_,
            " and ", size_);
    std::unique_ptr<Tokenizer> tokenizer = tokenizer_.empty() ? nullptr : std::make_unique<Tokenizer>(Tokenizer::load(tokenizer_));
    const int64_t end = std::min(start_ + count_, source->size());
    print_line(format("%lld pairs, fingerprint %s", static_cast<long long>(source->size()), source->fingerprint().c_str()));
    if (!source->report().empty()) { print_line(source->report()); }
    Sheet sheet(end - start_, int(size_), 8);
    for (int64_t i = start_; i < end; ++i) {
      print_line(format("%lld  %s", static_cast<long long>(i), source->name(i).c_str()));
      try {
        Image picture = decode_image(source->image(i), source->name(i), decoding_);
        const int label = source->label(i);
        const std::string named = label < 0 ? "" : concat_text(", class ", label, " (", source->classnames()[size_t(label)], ")");
        print_line(format("    %d x %d pixels%s", picture.width, picture.height, named.c_str()));
        sheet.put(i - start_, resize_and_crop(picture, int(size_)));
      } catch (const Error& e) {
        print_line(std::string("    left out: ") + e.what());
      }
      print_line("    " + source->caption(i));
      if (tokenizer) { print_line("    " + tokens_of(*tokenizer, source->caption(i))); }
    }
    if (!out_.empty()) {
      write_file_atomic(out_, sheet.png());
      print_line("wrote " + out_);
    }
    return 0;
  }

 private:
  std::string tokens_of(const Tokenizer& tokenizer, const std::string& caption) const {
    std::vector<int32_t> ids = encode_caption(tokenizer, caption, text_length_);
    std::string text;
    for (int32_t id : ids) { text += "[" + tokenizer.decode(std::vector<int32_t>{id}) + "]"; }
    return text + format("  %zu tokens%s", ids.size(), int64_t(tokenizer.encode(caption).size()) >= text_length_ ? ", cut" : "");
  }

  PairOptions options_;
  DecodeOptions decoding_;
  int64_t count_ = 8, start_ = 0, size_ = 64, text_length_ = 16;
  std::string tokenizer_, out_;
  ConversationSettings conversations_;
};

class DataCheck : public Command {
 public:
  std::string name() const override { return "data check"; }
  std::string summary() const override { return "read every pair or conversation of a source and say what is wrong"; }
  std::string positional() const override { return "SOURCE"; }
  std::string examples() const override {
    return "  pumice data check train.csv --image-folder pictures\n  pumice data check 'train-{000000..000019}.tar'\n"
           "  pumice data check llava.json --image-folder pictures --tokenizer phi-2 --template phi\n";
  }
  void declare(OptionTable& o) override {
    declare_source(o, options_);
    o.add("batch-size", batch_size_, "Output", "for the expected share of equal captions in a batch");
    o.add("problems", shown_, "Output", "how many problems of each kind to print: incomplete pairs, unreadable pictures");
    o.add("tokenizer", conversations_.tokenizer, "Conversations", "a tokenizer file or a directory with one: encode every conversation");
    declare_conversations(o, conversations_);
  }

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, batch_size_ > 0 && shown_ >= 0, "pumice data check: --batch-size must be positive and --problems not negative, got ",
            batch_size_, " and ", shown_);
    if (arguments.size() == 1 && is_llava_file(arguments[0])) {
      return check_conversations(arguments[0], options_.image_folder, shown_, conversations_);
    }
    std::unique_ptr<PairSource> source = open_argument(*this, arguments, options_);
    std::map<std::string, int64_t> sizes;
    std::map<uint64_t, int64_t> pictures, captions;
    int64_t broken = 0;
    const std::vector<std::string> found = source->problems();
    for (size_t i = 0; i < std::min(found.size(), size_t(shown_)); ++i) { print_line(found[i]); }
    for (int64_t i = 0; i < source->size() && !stop_requested(); ++i) {
      try {
        const std::string bytes = source->image(i);
        Image picture = decode_image(bytes, source->name(i));
        ++sizes[format("%d x %d", picture.width, picture.height)];
        ++pictures[hash_of(bytes)];
      } catch (const Error& e) {
        if (broken++ < shown_) { print_line(e.what()); }
      }
      ++captions[hash_of(source->caption(i))];
      if (i % 256 == 255) { print_status(format("checked %lld of %lld", static_cast<long long>(i), static_cast<long long>(source->size()))); }
    }
    clear_status();
    if (broken > shown_) { print_line(format("... and %lld more", static_cast<long long>(broken - shown_))); }
    print_line(format("%lld pairs, %lld unreadable", static_cast<long long>(source->size()), static_cast<long long>(broken)));
    if (!source->report().empty()) { print_line(source->report()); }
    print_line(format("%zu different captions, %zu different pictures, %zu picture sizes", captions.size(), pictures.size(), sizes.size()));
    if (!source->classnames().empty()) { print_line(format("%zu classes", source->classnames().size())); }
    print_line(format("%s of the examples of a batch of %lld would share their caption with another one",
                      percent(duplicate_share(*source, batch_size_)).c_str(),
                      static_cast<long long>(batch_size_)));
    return broken || !source->report().empty() ? 1 : 0;
  }

 private:
  PairOptions options_;
  int64_t batch_size_ = 128, shown_ = 5;
  ConversationSettings conversations_;
};

}  // namespace

std::unique_ptr<Command> make_data_inspect() { return std::make_unique<DataInspect>(); }
std::unique_ptr<Command> make_data_check() { return std::make_unique<DataCheck>(); }

}  // namespace pumice

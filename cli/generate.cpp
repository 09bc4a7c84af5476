#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "pumice/cli/command.h"
#include "pumice/cli/language.h"
#include "pumice/cli/prompts.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/text.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/json.h"

namespace pumice {
namespace {

// Of standard input, without the newline that ends its last line.
std::string read_standard_input() {
  if (isatty(STDIN_FILENO)) { std::fputs("The prompt, ended by Ctrl-D on a line of its own (or give it as -p TEXT):\n", stderr); }
  std::string text(std::istreambuf_iterator<char>(std::cin), {});
  if (text.ends_with('\n')) { text.resize(text.size() - (text.ends_with("\r\n") ? 2 : 1)); }
  return text;
}

// Answers as lines of JSON, each written as soon as it is known.
class AnswerFile {
 public:
  AnswerFile(const std::string& path, bool overwrite) : path_(path) {
    if (path.empty()) { return; }
    std::error_code none;
    REQUIRE(UsageError, overwrite || !std::filesystem::exists(path) || std::filesystem::file_size(path, none) == 0, "pumice generate: ", path,
            " holds something already; name another --out, or give --overwrite");
    file_ = std::fopen(path.c_str(), "w");
    REQUIRE(IoError, file_, "pumice generate: --out ", path, " cannot be written: ", std::strerror(errno));
  }
  ~AnswerFile() {
    if (file_ != stdout) { std::fclose(file_); }
  }
  AnswerFile(const AnswerFile&) = delete;
  AnswerFile& operator=(const AnswerFile&) = delete;

  void add(const PromptLine& prompt, const std::string& answer, const AnswerReport& report) {
    nlohmann::ordered_json line = parse_ordered_json(prompt.fields);
    line["answer"] = answer;
    line["prompt_tokens"] = report.prompt_tokens;
    line["tokens"] = report.new_tokens;
    line["finish_reason"] = report.cut ? "length" : "stop";
    const std::string text = line.dump() + "\n";
    REQUIRE(IoError, std::fwrite(text.data(), 1, text.size(), file_) == text.size() && std::fflush(file_) == 0, "pumice generate: ",
            path_.empty() ? "standard output" : path_, " cannot be written: ", std::strerror(errno));
  }

 private:
  std::string path_;
  std::FILE* file_ = stdout;
};

class Generate : public Command {
 public:
  std::string name() const override { return "generate"; }
  std::string summary() const override { return "answer questions about pictures or text, or continue texts"; }
  std::string examples() const override {
    return "  pumice generate --model llava/ --image cat.png -p 'Where is the cat?'\n"
           "  pumice generate --model qwen2/ --prompt 'Once upon a time' --raw --temperature 0.8\n"
           "  pumice generate --model llava/ --prompts questions.jsonl --batch-size 16 --out answers.jsonl\n";
  }
  void declare(OptionTable& o) override {
    declare_language_options(o, language_);
    o.add("prompt", prompt_, "Input", "the question, or the text to continue; without it, standard input").alias("p").alias("query");
    o.add("image", images_, "Input", "pictures, in the order of <image> in the prompt, in front where it has none").alias("image-file");
    o.add("raw", raw_, "Input", "continue the prompt as it is, without the template of a conversation");
    o.add("prompts", prompts_, "Input",
          "many prompts: a text file with one a line, or .jsonl with objects {\"prompt\": ..., \"image\": path or list}; answers are lines of JSON");
    o.add("batch-size", batch_size_, "Input", "of --prompts, how many are answered side by side; answers do not depend on it");
    o.add("out", out_, "Output", "of --prompts, the file for answers; without it, standard output");
    o.add("overwrite", overwrite_, "Output", "replace a file that --out names");
    o.add("stats", stats_, "Output", "print times and tokens to standard error");
  }
  int run(OptionTable& options, const std::vector<std::string>&) override {
    const bool given = !options.find("prompt")->source.empty();
    if (!prompts_.empty()) {
      REQUIRE(UsageError, !given && images_.empty(), "pumice generate: --prompts brings its own prompts and pictures; leave out -p and --image");
      return answer_file();
    }
    REQUIRE(UsageError, out_.empty(), "pumice generate: --out is for the answers to --prompts FILE; one answer goes to standard output");
    REQUIRE(UsageError, !raw_ || images_.empty(), "pumice generate: --raw continues text alone; leave it out to ask about pictures");
    const std::string prompt = given ? prompt_ : read_standard_input();
    REQUIRE(UsageError, !images_.empty() || !trimmed(prompt).empty(), "pumice generate: the prompt is empty; give -p TEXT, or pipe a text into it");
    const LanguageModel model = open_language_model("pumice generate", language_);
    const std::vector<Image> images = read_images(images_);
    catch_stop_signals();
    Answerer answerer(model);
    answerer.stop_at(language_.stops);
    const SamplingOptions sampling = sampling_of(language_, model.defaults);
    const auto print = [](const std::string& text) {
      std::fputs(text.c_str(), stdout);
      std::fflush(stdout);
      return !stop_requested();
    };
    const AnswerReport report = raw_ ? answerer.complete(prompt, sampling, print) : answerer.ask(prompt, images, sampling, print);
    std::fputs("\n", stdout);
    if (stats_) { std::fprintf(stderr, "%s\n", describe_times(report).c_str()); }
    note_length(model, report);
    return report.stopped ? stop_exit_code() : 0;
  }

 private:
  int answer_file() {
    REQUIRE(UsageError, batch_size_ >= 1 && batch_size_ <= 4096, "pumice generate: --batch-size must be in [1, 4096], got ", batch_size_);
    const std::vector<PromptLine> prompts = read_prompts(prompts_);
    for (const PromptLine& p : prompts) {
      REQUIRE(UsageError, !raw_ || p.images.empty(), p.place, ": --raw continues text alone; leave it out to ask about pictures");
    }
    const LanguageModel model = open_language_model("pumice generate", language_);
    AnswerFile file(out_, overwrite_);
    catch_stop_signals();
    const SamplingOptions sampling = sampling_of(language_, model.defaults);
    const BatchOptions options{.sampling = sampling, .stops = language_.stops, .raw = raw_, .places = batch_size_,
                               .go_on = [] { return !stop_requested(); }};
    size_t asked = 0, answered = 0;
    const auto next = [&]() -> std::optional<Prompt> {
      if (asked == prompts.size()) { return std::nullopt; }
      const PromptLine& p = prompts[asked++];
      try {
        return Prompt{p.place, p.text, read_images(p.images)};
      } catch (const FormatError& e) { throw FormatError(p.place + ": " + e.what()); }
      catch (const IoError& e) { throw IoError(p.place + ": " + e.what()); }
    };
    const BatchReport r = answer_prompts(model, options, next, [&](const std::string& answer, const AnswerReport& report) {
      file.add(prompts[answered++], answer, report);
      if (!out_.empty()) { print_status(format("%zu of %zu prompts answered", answered, prompts.size())); }
    });
    clear_status();
    const double seconds = std::max(r.seconds, 1e-9);
    std::fprintf(stderr, "%lld of %zu prompts answered in %.1f s: %lld tokens read, %lld new tokens, %.1f per second\n", (long long)(r.answers),
                 prompts.size(), seconds, (long long)(r.prompt_tokens), (long long)(r.new_tokens), double(r.new_tokens) / seconds);
    return r.stopped ? stop_exit_code() : 0;
  }

  LanguageFlags language_;
  std::string prompt_, prompts_, out_;
  std::vector<std::string> images_;
  int64_t batch_size_ = 16;
  bool raw_ = false, stats_ = false, overwrite_ = false;
};

}  // namespace

std::unique_ptr<Command> make_generate() { return std::make_unique<Generate>(); }

}  // namespace pumice

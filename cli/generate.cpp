#include <cstdio>
#include <iostream>

#include "pumice/cli/command.h"
#include "pumice/cli/language.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

class Generate : public Command {
 public:
  std::string name() const override { return "generate"; }
  std::string summary() const override { return "answer one question about pictures or text, or continue a text"; }
  std::string examples() const override {
    return "  pumice generate --model llava/ --image cat.png -p 'Where is the cat?'\n  pumice generate --model qwen2/ --prompt 'Once upon a time' --raw "
           "--temperature 0.8\n";
  }
  void declare(OptionTable& o) override {
    declare_language_options(o, language_);
    o.add("prompt", prompt_, "Input", "the question, or the text to continue; without it, standard input").alias("p").alias("query");
    o.add("image", images_, "Input", "pictures, in the order of <image> in the prompt, in front where it has none").alias("image-file");
    o.add("raw", raw_, "Input", "continue the prompt as it is, without the template of a conversation");
    o.add("stats", stats_, "Output", "print times and tokens to standard error");
  }
  int run(OptionTable& options, const std::vector<std::string>&) override {
    const LanguageModel model = open_language_model("pumice generate", language_);
    std::string prompt = prompt_;
    if (options.find("prompt")->source.empty()) { prompt.assign(std::istreambuf_iterator<char>(std::cin), {}); }
    REQUIRE(UsageError, !raw_ || images_.empty(), "pumice generate: --raw continues text alone; leave it out to ask about pictures");
    const std::vector<Image> images = read_images(images_);
    catch_stop_signals();
    Answerer answerer(model);
    answerer.stop_at(language_.stops);
    const SamplingOptions sampling = sampling_of(language_, model);
    const auto print = [](const std::string& text) {
      std::fputs(text.c_str(), stdout);
      std::fflush(stdout);
      return !stop_requested();
    };
    const AnswerReport report = raw_ ? answerer.complete(prompt, sampling, print) : answerer.ask(prompt, images, sampling, print);
    std::fputs("\n", stdout);
    if (stats_) { std::fprintf(stderr, "%s\n", describe_times(report).c_str()); }
    return report.stopped ? stop_exit_code() : 0;
  }

 private:
  LanguageFlags language_;
  std::string prompt_;
  std::vector<std::string> images_;
  bool raw_ = false, stats_ = false;
};

}  // namespace

std::unique_ptr<Command> make_generate() { return std::make_unique<Generate>(); }

}  // namespace pumice

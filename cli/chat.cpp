#include <cstdio>
#include <iostream>

#include "pumice/cli/command.h"
#include "pumice/cli/language.h"
#include "pumice/cli/terminal.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"

namespace pumice {
namespace {

constexpr const char* kHelp =
    "/image FILE   show a picture with the next question     /clear      forget the conversation\n"
    "/experts      where the tokens of the last answer went  /save FILE  write the conversation down\n"
    "/help         this                                      /quit       end (or end of input)\n"
    "Ctrl-C stops an answer, twice ends the program.";

class Chat : public Command {
 public:
  std::string name() const override { return "chat"; }
  std::string summary() const override { return "talk with a model about pictures and text"; }
  std::string examples() const override {
    return std::string("  pumice chat --model llava/ --image cat.png\n  pumice chat --model qwen2/ --temperature 0.7 --seed 1\n\n") + kHelp + "\n";
  }
  void declare(OptionTable& o) override {
    declare_language_options(o, language_);
    o.add("image", images_, "Input", "pictures shown with the first question").alias("image-file");
    o.add("stats", stats_, "Output", "print times and tokens after each answer");
  }
  int run(OptionTable&, const std::vector<std::string>&) override {
    const LanguageModel model = open_language_model("pumice chat", language_);
    const SamplingOptions sampling = sampling_of(language_, model.defaults);
    Answerer answerer(model);
    answerer.stop_at(language_.stops);
    std::vector<Image> pending = read_images(images_);
    catch_stop_signals();
    std::string line;
    while (!stop_requested() && ask_line(line)) {
      try {
        if (line == "/quit" || line == "/exit") { break; }
        if (line[0] == '/') { command(line, answerer, pending); }
        else {
          report_ = answerer.ask(line, pending, sampling, [](const std::string& text) {
            std::fputs(text.c_str(), stdout);
            std::fflush(stdout);
            return !stop_requested();
          });
          pending.clear();
          std::fputs("\n", stdout);
          if (stats_) { print_line(describe_times(report_)); }
          note_length(model, report_);
          clear_stop_request();  // also one that came with the answer's last token, which the next answer is not to stop for
        }
      } catch (const Error& e) {  // one wrong line does not end a conversation
        print_line(std::string("error: ") + e.what());
      }
    }
    return stop_requested() ? stop_exit_code() : 0;
  }

 private:
  // False at the end of input. Empty lines are asked again.
  static bool ask_line(std::string& line) {
    do {
      std::fputs("> ", stdout);
      std::fflush(stdout);
      if (!std::getline(std::cin, line)) {
        std::fputs("\n", stdout);
        return false;
      }
      const size_t begin = line.find_first_not_of(" \t\r"), end = line.find_last_not_of(" \t\r");
      line = begin == std::string::npos ? "" : line.substr(begin, end - begin + 1);
    } while (line.empty());
    return true;
  }

  void command(const std::string& line, Answerer& answerer, std::vector<Image>& pending) {
    const size_t space = line.find(' ');
    const std::string word = line.substr(0, space), rest = space == std::string::npos ? "" : line.substr(line.find_first_not_of(' ', space));
    if (word == "/image") {
      REQUIRE(UsageError, !rest.empty(), "/image needs the name of a file");
      pending.push_back(read_images({rest})[0]);
      print_line("shown with the next question: " + rest);
    } else if (word == "/clear") {
      answerer.clear();
      pending.clear();
      report_ = {};
      print_line("the conversation is forgotten");
    } else if (word == "/experts") {
      print_experts();
    } else if (word == "/save") {
      REQUIRE(UsageError, !rest.empty(), "/save needs the name of a file");
      std::string text;
      for (const Message& m : answerer.messages()) { text += (m.role == Role::user ? "> " : "") + m.text + "\n"; }
      write_file_atomic(rest, text);
      print_line("saved: " + rest);
    } else if (word == "/help") {
      print_line(kHelp);
    } else {
      throw UsageError("there is no command " + word + "; /help lists them");
    }
  }

  void print_experts() const {
    if (report_.routing.empty()) { return print_line(report_.new_tokens ? "this model has no sparse layers" : "nothing has been answered yet"); }
    print_line("share of kept choices per expert, of picture tokens and of text tokens (prompt and answer)");
    for (const AnswerReport::LayerLoad& layer : report_.routing) {
      print_line(format("layer %2lld  picture ", (long long)layer.layer) + shares(layer.image) + "   text " + shares(layer.text));
    }
  }
  static std::string shares(const std::vector<int64_t>& counts) {
    double sum = 0;
    for (int64_t n : counts) { sum += double(n); }
    std::string text;
    for (int64_t n : counts) { text += sum > 0 ? format(" %5.1f %%", 100 * double(n) / sum) : "       -"; }
    return text;
  }

  LanguageFlags language_;
  std::vector<std::string> images_;
  bool stats_ = false;
  AnswerReport report_;
};

}  // namespace

std::unique_ptr<Command> make_chat() { return std::make_unique<Chat>(); }

}  // namespace pumice

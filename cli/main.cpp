// The `pumice` program: finds the command, fills its options, and turns errors into one screen and an exit code
// (0 done, 1 failure, 2 usage, 130 interrupted).
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <new>

#include "pumice/cli/arguments.h"
#include "pumice/cli/completion.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/flags.h"
#include "pumice/tensor/profile.h"
#include "pumice/tensor/suggest.h"

namespace pumice {

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> all;
  all.push_back(make_data_scenes());
  all.push_back(make_data_inspect());
  all.push_back(make_data_check());
  all.push_back(make_data_template());
  all.push_back(make_train_limoe());
  all.push_back(make_train_clip());
  all.push_back(make_train_classifier());
  all.push_back(make_train_lm());
  all.push_back(make_eval_zeroshot());
  all.push_back(make_eval_retrieval());
  all.push_back(make_eval_fewshot());
  all.push_back(make_eval_experts());
  all.push_back(make_eval_lm());
  all.push_back(make_chat());
  all.push_back(make_generate());
  all.push_back(make_model_info());
  all.push_back(make_model_inspect());
  all.push_back(make_model_convert());
  all.push_back(make_model_init());
  all.push_back(make_model_export());
  all.push_back(make_model_assemble());
  all.push_back(make_model_average());
  all.push_back(make_model_upcycle());
  all.push_back(make_model_prune());
  all.push_back(make_tokenizer_train());
  all.push_back(make_tokenizer_encode());
  all.push_back(make_tokenizer_decode());
  all.push_back(make_tokenizer_info());
  all.push_back(make_presets());
  all.push_back(make_doctor());
  all.push_back(make_completion());
  return all;
}

namespace {

int report(const char* kind, const char* what, int code) {
  std::fprintf(stderr, "%s: %s\n", kind, what);
  return code;
}

Command* find_command(const std::vector<std::unique_ptr<Command>>& commands, const std::vector<std::string>& words, size_t& used) {
  for (const auto& c : commands) {
    std::string joined = words[0];
    for (used = 1; used <= 2; ++used) {
      if (joined == c->name()) { return c.get(); }
      if (used < words.size()) { joined += " " + words[used]; }
    }
  }
  return nullptr;
}

int run(const std::vector<std::string>& words, bool& verbose) {
  auto commands = all_commands();
  if (words.empty() || words[0] == "--help" || words[0] == "-h" || words[0] == "help") {
    std::fputs(help_of_program(commands).c_str(), stdout);
    return words.empty() ? 2 : 0;
  }
  if (words[0] == "--version") {
    std::puts("pumice " PUMICE_VERSION);
    return 0;
  }
  if (words[0] == "__complete") {
    for (const std::string& word : complete(commands, {words.begin() + 1, words.end()})) { std::puts(word.c_str()); }
    return 0;
  }
  if (words.size() == 1 || words[1] == "--help" || words[1] == "-h") {
    if (const std::string help = help_of_group(commands, words[0]); !help.empty()) {
      std::fputs(help.c_str(), stdout);
      return words.size() == 1 ? 2 : 0;
    }
  }
  size_t used = 0;
  Command* command = find_command(commands, words, used);
  if (!command) {
    std::vector<std::string> names, first;
    for (const auto& c : commands) {
      names.push_back(c->name());
      first.push_back(c->name().substr(0, c->name().find(' ')));
    }
    std::string given = words[0] + (words.size() > 1 && words[1][0] != '-' ? " " + words[1] : "");
    std::string hint = did_you_mean(given, names);
    if (hint.empty()) { hint = did_you_mean(words[0], first); }
    throw UsageError(concat_text("pumice: there is no command '", given, "'.", hint, " Commands: ", join(names)), __FILE__, __LINE__);
  }
  OptionTable options;
  command->declare(options);
  Parsed parsed = parse_arguments(*command, options, {words.begin() + long(used), words.end()});
  verbose = parsed.verbose;
  if (parsed.help) {
    std::fputs(help_of(*command, options).c_str(), stdout);
    return 0;
  }
  int code = command->run(options, parsed.positional);
  if (flags::profile()) { std::fputs(profile_table().c_str(), stderr); }
  return code;
}

}  // namespace
}  // namespace pumice

int main(int argc, char** argv) {
  using namespace pumice;
  bool verbose = false;
  std::signal(SIGXFSZ, SIG_IGN);  // a file-size limit (ulimit -f) is a failed write with a message, like a full disk, not a silent end
  for (int i = 1; i < argc; ++i) { verbose |= std::string(argv[i]) == "--verbose"; }
  try {
    return run({argv + 1, argv + argc}, verbose);
  } catch (const UsageError& e) {
    if (verbose) { std::fprintf(stderr, "%s:%d\n", e.file, e.line); }
    return report("error", e.what(), 2);
  } catch (const Error& e) {
    if (verbose) { std::fprintf(stderr, "%s:%d\n", e.file, e.line); }
    return report("error", e.what(), 1);
  } catch (const std::bad_alloc&) {
    return report("error", "the system is out of memory; try a smaller batch or model", 1);
  } catch (const std::filesystem::filesystem_error& e) {  // a loop of links, a folder that may not be read
    return report("error", concat_text(e.path1().string(), " cannot be read or written: ", e.code().message()).c_str(), 1);
  } catch (const std::exception& e) {
    return report("error", e.what(), 1);
  }
}

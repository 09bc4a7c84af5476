// Shell completion: `pumice completion SHELL` prints a script that asks the program itself (`pumice __complete WORDS...`), so that what
// is offered is always what this build understands.
#include "pumice/cli/completion.h"

#include <algorithm>
#include <cstdio>

#include "pumice/cli/terminal.h"
#include "pumice/data/template.h"
#include "pumice/models/image_text_config.h"
#include "pumice/tensor/error.h"

namespace pumice {
namespace {

constexpr const char* kBash = R"sh(# pumice completion bash > /etc/bash_completion.d/pumice, or: source <(pumice completion bash)
_pumice() {
  local IFS=$'\n'
  COMPREPLY=($(compgen -W "$(pumice __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _pumice pumice
)sh";
constexpr const char* kZsh = R"sh(#compdef pumice
# pumice completion zsh > "${fpath[1]}/_pumice", or: source <(pumice completion zsh)
_pumice() {
  local -a found
  found=(${(f)"$(pumice __complete "${(@)words[2,CURRENT]}" 2>/dev/null)"})
  (( $#found )) && compadd -- $found || _files
}
compdef _pumice pumice
)sh";
constexpr const char* kFish = R"sh(# pumice completion fish > ~/.config/fish/completions/pumice.fish
function __pumice_complete
  set -l words (commandline -opc) (commandline -ct)
  pumice __complete $words[2..-1] 2>/dev/null
end
complete -c pumice -a '(__pumice_complete)'
)sh";

std::vector<std::string> words_of(const std::string& name) {
  const size_t space = name.find(' ');
  return space == std::string::npos ? std::vector<std::string>{name} : std::vector<std::string>{name.substr(0, space), name.substr(space + 1)};
}

class Completion : public Command {
 public:
  std::string name() const override { return "completion"; }
  std::string summary() const override { return "print a completion script for bash, zsh or fish"; }
  std::string positional() const override { return "bash|zsh|fish"; }
  std::string examples() const override {
    return "  source <(pumice completion bash)\n  pumice completion fish > ~/.config/fish/completions/pumice.fish\n";
  }
  void declare(OptionTable&) override {}
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    const std::string shell = arguments.empty() ? "" : arguments[0];
    const char* script = shell == "bash" ? kBash : shell == "zsh" ? kZsh : shell == "fish" ? kFish : nullptr;
    REQUIRE(UsageError, script, "pumice completion: the shell must be bash, zsh or fish, got '", shell, "'");
    std::fputs(script, stdout);
    return 0;
  }
};

// The values that a flag can take, as far as they are known beforehand.
std::vector<std::string> values_of(const Option& option) {
  if (option.name == "preset") { return limoe_preset_names(); }
  if (option.type == Option::kBoolean) { return {"true", "false"}; }
  return option.choices;
}

}  // namespace

std::unique_ptr<Command> make_completion() { return std::make_unique<Completion>(); }

std::vector<std::string> complete(const std::vector<std::unique_ptr<Command>>& commands, const std::vector<std::string>& words) {
  const std::string part = words.empty() ? "" : words.back();
  const std::vector<std::string> before(words.begin(), words.empty() ? words.begin() : words.end() - 1);
  std::vector<std::string> found;
  auto offer = [&](const std::string& word) {
    if (word.rfind(part, 0) == 0 && std::find(found.begin(), found.end(), word) == found.end()) { found.push_back(word); }
  };
  Command* command = nullptr;
  size_t used = 0;
  for (const auto& c : commands) {
    std::vector<std::string> name = words_of(c->name());
    if (before.size() >= name.size() && std::equal(name.begin(), name.end(), before.begin())) {
      command = c.get();
      used = name.size();
    } else if (before.size() < name.size() && std::equal(before.begin(), before.end(), name.begin())) {
      offer(name[before.size()]);
    }
  }
  if (!command) { return found; }
  OptionTable options;
  command->declare(options);
  const std::string last = before.size() > used ? before.back() : "";
  Option* pending = last.rfind("--", 0) == 0 ? options.find(last.substr(2)) : nullptr;
  if (pending && pending->type != Option::kBoolean) {
    for (const std::string& value : values_of(*pending)) { offer(value); }
    if (!found.empty() || pending->bare.empty()) { return found; }
  }
  if (part.rfind("-", 0) == 0) {
    for (const Option& option : options.all()) {
      offer("--" + option.name);
      for (const Option::Switch& s : option.switches) { offer("--" + s.name); }
    }
    offer("--help");
  } else if (command->name() == "completion") {
    for (const char* shell : {"bash", "zsh", "fish"}) { offer(shell); }
  } else if (command->name() == "data template") {
    for (const std::string& kind : template_kinds()) { offer(kind); }
  } else if (command->name() == "presets") {
    for (const std::string& preset : limoe_preset_names()) { offer(preset); }
  }
  return found;
}

}  // namespace pumice

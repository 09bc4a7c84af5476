#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/image_text_config.h"
#include "pumice/train/language_trainer.h"

namespace pumice {
namespace {

class Presets : public Command {
 public:
  std::string name() const override { return "presets"; }
  std::string summary() const override { return "list the model sizes, or print one as JSON for --config"; }
  std::string positional() const override { return "[NAME]"; }
  std::string examples() const override { return "  pumice presets\n  pumice presets tiny > tiny.json          # of pumice train limoe\n"; }
  void declare(OptionTable&) override {}

  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    if (!arguments.empty()) {
      print_line(to_json(limoe_preset(arguments[0])));
      return 0;
    }
    print_line("name    image patch depth width heads   MLP  experts  sparse blocks      parameters      active");
    for (const std::string& preset : limoe_preset_names()) {
      ImageTextConfig c = limoe_preset(preset);
      ImageTextCost cost = cost_of(c);
      print_line(format("%-7s %5lld %5lld %5lld %5lld %5lld %5lld %8d  %2zu of %-2lld      %12s %11s", preset.c_str(),
                        static_cast<long long>(c.image_size), static_cast<long long>(c.patch), static_cast<long long>(c.depth),
                        static_cast<long long>(c.width), static_cast<long long>(c.heads), static_cast<long long>(c.hidden),
                        c.moe_layers.empty() ? 0 : c.router.experts, c.moe_layers.size(), static_cast<long long>(c.depth),
                        human_count(double(cost.parameters)).c_str(), human_count(double(cost.active_parameters)).c_str()));
    }
    print_line("\nof pumice train lm:\nname    vocabulary depth width heads   MLP length   parameters");
    for (const std::string& preset : language_preset_names()) {
      LanguageTraining t;
      apply_language_preset(t, preset);
      std::string source;
      const std::string config = language_config(t, t.sizes.vocabulary, source);
      print_line(format("%-7s %10lld %5lld %5lld %5lld %5lld %6lld %12s", preset.c_str(), static_cast<long long>(t.sizes.vocabulary),
                        static_cast<long long>(t.sizes.depth), static_cast<long long>(t.sizes.width), static_cast<long long>(t.sizes.heads),
                        static_cast<long long>(t.sizes.hidden), static_cast<long long>(t.length),
                        human_count(double(cost_of(decoder_config_from_hf(config, source)).parameters)).c_str()));
    }
    return 0;
  }
};

}  // namespace

std::unique_ptr<Command> make_presets() { return std::make_unique<Presets>(); }

}  // namespace pumice

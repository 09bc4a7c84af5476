#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/template.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/suggest.h"

namespace pumice {
namespace {

class DataTemplate : public Command {
 public:
  std::string name() const override { return "data template"; }
  std::string summary() const override { return "write a small working data set in a layout, to copy from"; }
  std::string positional() const override { return "KIND"; }
  std::string examples() const override { return "  pumice data template csv --out example\n  pumice data check example/train.csv\n"; }
  void declare(OptionTable& o) override { o.add("out", out_, "Output", "the directory to write"); }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, "pumice data template: one of ", join(template_kinds()), " is required, got ", arguments.size(),
            " words");
    const std::string source = write_template(arguments[0], out_);
    if (arguments[0] == "llava") {
      print_line("wrote " + out_ + ". Check it with:\n  pumice data check '" + source + "'");
      return 0;
    }
    print_line("wrote " + out_ + ". Train on it with:\n  pumice train limoe --preset tiny --batch-size 12 --steps 50 --train-data '" + source +
               "' --out runs/example");
    return 0;
  }

 private:
  std::string out_;
};

}  // namespace

std::unique_ptr<Command> make_data_template() { return std::make_unique<DataTemplate>(); }

}  // namespace pumice

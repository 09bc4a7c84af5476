#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "pumice/cli/command.h"
#include "pumice/cli/terminal.h"
#include "pumice/data/documents.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/train/language_model.h"
#include "pumice/train/language_trainer.h"

namespace pumice {
namespace {

class EvalLm : public Command {
 public:
  std::string name() const override { return "eval lm"; }
  std::string summary() const override { return "what texts cost a language model: loss, perplexity, bits per byte"; }
  std::string examples() const override { return "  pumice eval lm --model runs/lm --data held-out.txt\n"; }
  void declare(OptionTable& o) override {
    o.add("model", model_, "Input", "directory of a language model, or a run of pumice train lm");
    o.add("ema", ema_, "Input", "evaluate the moving average of the weights");
    o.add("data", data_, "Input", "texts as pumice train lm reads them");
    o.add("text-key", key_, "Input", "JSON lines: the key of the text");
    o.add("length", length_, "Input", "tokens that a text is cut into; 0: as many as the model was trained for, at most 2048");
    o.add("precision", precision_, "Input", "of activations").one_of({"fp32", "bf16"}).synonym("f32", "fp32");
    o.add("output", output_, "Output", "write the result as JSON to this file");
  }
  int run(OptionTable&, const std::vector<std::string>&) override {
    REQUIRE(UsageError, !model_.empty() && !data_.empty(), "pumice eval lm: --model and --data are required. See pumice eval lm --help");
    const Documents documents = read_documents(data_, key_);
    const DType dtype = precision_ == "bf16" ? DType::bf16 : DType::f32;
    const LanguageModel model = LanguageModel::open(model_, {.dtype = dtype, .average = ema_});
    const int64_t length = length_ ? length_ : std::min<int64_t>(model.decoder().config().positions, 2048);
    const TextScore s = score_text(model.decoder(), model.tokenizer, documents.texts, length, dtype);
    if (const std::string report = documents.problems.report(documents.given, "documents"); !report.empty()) { print_line(report); }
    print_line(format("%zu documents, %s tokens: loss %.4f, perplexity %.2f, %.4f bits per byte (chance: loss %.2f)", documents.texts.size(),
                      human_count(double(s.tokens)).c_str(), s.loss, std::exp(s.loss), s.bits_per_byte,
                      std::log(double(model.decoder().config().vocabulary))));
    if (!output_.empty()) {
      const nlohmann::ordered_json j = {{"model", model.directory}, {"data", data_}, {"documents", documents.texts.size()}, {"tokens", s.tokens},
                                        {"loss", s.loss}, {"perplexity", std::exp(s.loss)}, {"bits_per_byte", s.bits_per_byte}};
      write_file_atomic(output_, j.dump(2) + "\n");
    }
    return 0;
  }

 private:
  std::string model_, data_, key_ = "text", precision_ = "fp32", output_;
  int64_t length_ = 0;
  bool ema_ = false;
};

}  // namespace

std::unique_ptr<Command> make_eval_lm() { return std::make_unique<EvalLm>(); }

}  // namespace pumice

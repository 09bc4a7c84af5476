#include <optional>

#include "pumice/cli/command.h"
#include "pumice/cli/model_output.h"
#include "pumice/cli/terminal.h"
#include "pumice/models/hf/config.h"
#include "pumice/models/hf/export.h"
#include "pumice/models/hf/llava.h"
#include "pumice/models/hf/projector.h"
#include "pumice/models/hf/weights.h"
#include "pumice/tensor/error.h"
#include "pumice/tensor/file.h"
#include "pumice/tensor/safetensors.h"
#include "pumice/train/checkpoint.h"
#include "pumice/train/language_model.h"

namespace pumice {
namespace {

class ModelExport : public Command {
 public:
  std::string name() const override { return "model export"; }
  std::string summary() const override { return "write a language model, or one that sees, in another layout or type of numbers"; }
  std::string positional() const override { return "DIR"; }
  std::string examples() const override {
    return "  pumice model export runs/lm --dtype bf16 --out lm/                     # a run's last checkpoint, half as large\n"
           "  pumice model export llava/ --layout hf --out for-transformers/         # opened by LlavaForConditionalGeneration\n"
           "  pumice model export llava-1.5-7b-hf/ --layout moe_llava --out dense/   # then pumice model convert\n"
           "  pumice model export llava/ --projector-only --out projector/           # mm_projector.safetensors\n"
           "  pumice model export old-bin/ --out new/                                # .bin to safetensors, shards of 5 GB\n";
  }
  void declare(OptionTable& o) override {
    o.add("image-tower", tower_, "Input", "directory of the vision tower, where the model does not hold it").alias("mm-vision-tower");
    o.add("ema", average_, "Input", "the moving average of the weights that pumice train lm --ema-decay kept");
    o.add("layout", layout_, "Output", "names of tensors and fields of a model that sees: LLaVA's, Transformers' or MoE-LLaVA's; unset: as it is")
        .one_of({"llava", "hf", "moe_llava"});
    o.add("dtype", dtype_, "Output", "of the weights; unset: each as it is").one_of({"bf16", "f16", "f32"}).synonym("bfloat16", "bf16")
        .synonym("float16", "f16").synonym("float32", "f32");
    o.add("projector-only", projector_, "Output", "nothing but the projector");
    o.add("out", out_, "Output", "directory of the new model").alias("output-dir");
    o.add("overwrite", overwrite_, "Output", "replace the model that is in --out");
    o.add("max-shard-bytes", shard_, "Output", "size of a shard");
  }
  int run(OptionTable&, const std::vector<std::string>& arguments) override {
    REQUIRE(UsageError, arguments.size() == 1, kCommand, ": one directory is required, got ", arguments.size());
    given_ = arguments[0];
    if (projector_) { return export_its_projector(); }
    const std::string from = model_directory(given_), path = from + "/config.json", config = read_file(path);
    const bool sees = is_llava_config(config, path);
    REQUIRE(UsageError, sees || (layout_.empty() && tower_.empty()), kCommand, ": ", from, " reads text alone: there is no layout to choose and no tower; "
            "`pumice model assemble` gives it one");
    REQUIRE(UsageError, !sees || !average_, kCommand, ": only language models that are trained here keep a moving average of their weights");
    return sees ? export_seeing(from) : export_text(from, config);
  }

 private:
  static constexpr const char* kCommand = "pumice model export";

  WeightWriterOptions written() const {
    WeightWriterOptions o{.max_shard_bytes = shard_};
    if (!dtype_.empty()) { o.dtype = dtype_ == "bf16" ? DType::bf16 : dtype_ == "f16" ? DType::f16 : DType::f32; }
    return o;
  }
  int export_text(const std::string& from, const std::string& config) {
    NamedTensors tensors;
    std::optional<Decoder> average;
    if (average_) {
      average.emplace(load_decoder(from));
      load_parameters(from, average->parameters(), Weights::average);
      tensors = hf_tensors(average->parameters(), [&](const std::string& p) { return hf_tensors_of(average->config(), p); }, DType::f32);
    } else {
      tensors = export_decoder(from);
    }
    ModelOutput output(kCommand, out_, overwrite_, {given_, from});
    copy_companions(from, output.directory());
    write_weights(output.directory(), tensors, written());
    const std::optional<DType> dtype = written().dtype;
    write_file_atomic(output.directory() + "/config.json", dtype ? with_dtype(config, from + "/config.json", *dtype) : config);
    const int64_t parameters = open_decoder(output.directory()).parameters().size();  // that it can be read back is the test of it
    output.commit();
    print_line(out_ + ": language model of " + human_count(double(parameters)) + " parameters");
    return 0;
  }

  int export_seeing(const std::string& from) {
    std::string tower = tower_;
    const bool was_hf = read_llava_config(from, tower).layout == "hf", new_hf = layout_ == "hf" && !was_hf;
    REQUIRE(UsageError, !was_hf || tower_.empty(), kCommand, ": ", from, " holds its tower; --image-tower has no part in it");
    const LlavaFiles model = export_llava(from, tower_, {.layout = layout_, .image_token = new_hf ? image_token_of(from) : -1, .dtype = written().dtype});
    ModelOutput output(kCommand, out_, overwrite_, {given_, from, model.tower_read});
    const std::string& to = output.directory();
    if (new_hf) { copy_preprocessor(model.tower_read, to); }  // unless the model has one of its own
    copy_companions(from, to);
    write_llava(to, model, model.tower_read, written());
    const Llava back = open_llava(to, new_hf || !model.tower_config.empty() ? "" : model.tower_read);  // that it can be read back is the test of it
    output.commit();
    print_line(out_ + ": " + human_count(double(back.parameters().size())) + " parameters in the layout " + back.config().layout + "; " +
               std::to_string(back.config().image_tokens()) + " tokens per picture");
    return 0;
  }

  int export_its_projector() {
    const NamedTensors tensors = export_projector(model_directory(given_), layout_);
    ModelOutput output(kCommand, out_, overwrite_, {given_});
    const std::string file = output.directory() + "/" + kProjectorFile;
    write_safetensors(file, tensors, {}, written().dtype);
    const int64_t layers = read_projector(file).layers;
    output.commit();
    print_line(concat_text(out_, "/", kProjectorFile, ": a projector of ", layers, layers == 1 ? " linear layer" : " linear layers"));
    return 0;
  }

  std::string given_, tower_, layout_, dtype_, out_;
  bool average_ = false, projector_ = false, overwrite_ = false;
  uint64_t shard_ = 5'000'000'000;
};

}  // namespace

std::unique_ptr<Command> make_model_export() { return std::make_unique<ModelExport>(); }

}  // namespace pumice

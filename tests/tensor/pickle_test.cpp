#include "pumice/tensor/pickle.h"

#include <gtest/gtest.h>

#include "../message_of.h"

namespace pumice {
namespace {

using testing::message_of;
using Kind = Pickle::Kind;

constexpr std::string_view kCallables[] = {"collections.OrderedDict", "a.make"};

std::string bytes(const char* text, size_t n) { return {text, n}; }
#define PICKLE(text) bytes(text, sizeof(text) - 1)  // the text may hold zeros

Pickle parse(const std::string& text) {
  size_t at = 0;
  return Pickle::parse(text, at, kCallables, "f");
}
std::string refusal(const std::string& text) {
  std::string message = message_of<FormatError>([&] { parse(text); });
  EXPECT_EQ(message.rfind("[pickle] f: at byte ", 0), 0u) << message;
  return message.substr(20);
}

TEST(Pickle, PlainValues) {
  // pickle.dumps([7, -2, 300, 1 << 40, None, True, False, "é", b"xy", 2.5], protocol=2) in the opcodes of protocol 4
  const std::string text = PICKLE("\x80\x04]\x94(K\x07J\xfe\xff\xff\xffM\x2c\x01\x8a\x06\x00\x00\x00\x00\x00\x01N\x88\x89\x8c\x02\xc3\xa9"
                                  "C\x02xyG\x40\x04\x00\x00\x00\x00\x00\x00"
                                  "\x8a\x01\xff\x8a\x00" "e.");
  const Pickle p = parse(text);
  ASSERT_EQ(p.kind(p.root()), Kind::list);
  const auto items = p.items(p.root());
  ASSERT_EQ(items.size(), 12u);
  const Kind kinds[] = {Kind::integer, Kind::integer, Kind::integer, Kind::integer, Kind::none, Kind::boolean, Kind::boolean, Kind::text, Kind::bytes,
                        Kind::real, Kind::integer, Kind::integer};
  for (size_t i = 0; i < items.size(); ++i) { EXPECT_EQ(p.kind(items[i]), kinds[i]) << i; }
  EXPECT_EQ(p.integer(items[0]), 7);
  EXPECT_EQ(p.integer(items[1]), -2);
  EXPECT_EQ(p.integer(items[2]), 300);
  EXPECT_EQ(p.integer(items[3]), int64_t(1) << 40);
  EXPECT_EQ(p.integer(items[5]), 1);
  EXPECT_EQ(p.integer(items[6]), 0);
  EXPECT_EQ(p.text(items[7]), "é");
  EXPECT_EQ(p.text(items[8]), "xy");
  EXPECT_EQ(p.integer(items[10]), -1);
  EXPECT_EQ(p.integer(items[11]), 0);
}

TEST(Pickle, DictsCallsAndMemo) {
  const Pickle p = parse(PICKLE("\x80\x02}q\x00(U\x01kca\nmake\nK\x01K\x02\x86Rq\x01U\x01lh\x01u."));
  const auto items = p.items(p.root());
  ASSERT_EQ(items.size(), 4u);
  EXPECT_TRUE(p.calls(items[1], 1));
  EXPECT_FALSE(p.calls(items[1], 0));
  EXPECT_EQ(items[1], items[3]);  // one value under two keys
  EXPECT_EQ(p.integer(p.arguments(items[1])[1]), 2);

  // OrderedDict([[1, 2]]), as Python 2 writes it
  const Pickle ordered = parse(PICKLE("\x80\x02" "ccollections\nOrderedDict\n]](K\x01K\x02" "ea\x85R."));
  EXPECT_EQ(ordered.kind(ordered.root()), Kind::dict);
  ASSERT_EQ(ordered.items(ordered.root()).size(), 2u);
  EXPECT_EQ(ordered.integer(ordered.items(ordered.root())[1]), 2);
}

TEST(Pickle, OneAfterTheOther) {
  const std::string two = PICKLE("\x80\x02K\x05.\x80\x02K\x06.");
  size_t at = 0;
  const Pickle first = Pickle::parse(two, at, {}, "f");
  EXPECT_EQ(first.integer(first.root()), 5);
  const Pickle second = Pickle::parse(two, at, {}, "f");
  EXPECT_EQ(second.integer(second.root()), 6);
  EXPECT_EQ(at, two.size());
}

TEST(Pickle, NestsWithoutRecursion) {
  std::string deep = "\x80\x02)";
  deep += std::string(3'000'000, '\x85') + ".";  // a tuple in a tuple in a tuple ...
  const Pickle p = parse(deep);
  EXPECT_EQ(p.kind(p.root()), Kind::tuple);
  const Pickle itself = parse(PICKLE("\x80\x02]q\x00h\x00" "a."));  // a list that holds itself
  EXPECT_EQ(itself.items(itself.root())[0], itself.root());
}

TEST(Pickle, NothingIsRun) {
  EXPECT_EQ(refusal(PICKLE("\x80\x02" "cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")),
            "2 of the pickle: it uses 'os.system', which is none of what a file of tensors needs; "
            "pickles are read, never run. Save the tensors alone: torch.save(model.state_dict(), FILE), or save_file of safetensors.torch");
  EXPECT_NE(refusal(PICKLE("\x80\x04\x8c\x08" "builtins\x8c\x04" "eval\x93.")).find("'builtins.eval'"), std::string::npos);
  EXPECT_EQ(refusal(PICKLE("\x80\x02(ios\nsystem\n.")), "3 of the pickle: the opcode 0x69 is none that a state dict needs");
  EXPECT_EQ(refusal(PICKLE("\x80\x02K\x01)R.")), "5 of the pickle: something that is no callable is called");
  EXPECT_EQ(refusal(PICKLE("\x80\x02K\x01}b.")), "5 of the pickle: attributes are set of a plain value");
}

TEST(Pickle, BrokenOnes) {
  EXPECT_EQ(refusal(""), "0 of the pickle: 1 bytes are announced, 0 are left. Is the file complete?");
  EXPECT_EQ(refusal(PICKLE("\x80\x01.")), "0 of the pickle: protocol 1; 2 to 5 are read");
  EXPECT_EQ(refusal(PICKLE("\x80\x02X\xff\xff\xff\xff" "ab.")), "2 of the pickle: 4294967295 bytes are announced, 3 are left. Is the file complete?");
  EXPECT_EQ(refusal(PICKLE("\x80\x02.")), "2 of the pickle: a value is needed, there is none");
  EXPECT_EQ(refusal(PICKLE("\x80\x02NN.")), "4 of the pickle: it stops with 1 values left over");
  EXPECT_EQ(refusal(PICKLE("\x80\x02(N.")), "4 of the pickle: it stops with 0 values left over");
  EXPECT_EQ(refusal(PICKLE("\x80\x02t.")), "2 of the pickle: there is no mark");
  EXPECT_EQ(refusal(PICKLE("\x80\x02N(\x85.")), "4 of the pickle: 1 values are needed, there are 0");
  EXPECT_EQ(refusal(PICKLE("\x80\x02}(Nu.")), "5 of the pickle: a key without a value");
  EXPECT_EQ(refusal(PICKLE("\x80\x02}Na.")), "4 of the pickle: items are added to something that is no list");
  EXPECT_EQ(refusal(PICKLE("\x80\x02]NNs.")), "5 of the pickle: items are added to something that is no dict");
  EXPECT_EQ(refusal(PICKLE("\x80\x02Nq\x05.")), "3 of the pickle: memo 5 is set when only 0 are");
  EXPECT_EQ(refusal(PICKLE("\x80\x02h\x00.")), "2 of the pickle: memo 0 is used when only 0 are set");
  EXPECT_EQ(refusal(PICKLE("\x80\x02" "cabc")), "2 of the pickle: a name without an end");
  EXPECT_EQ(refusal(PICKLE("\x80\x02" "ccollections\nOrderedDict\n]N\x85" "a\x85R.")),
            "32 of the pickle: OrderedDict is made of something that is no list of pairs");
}

}  // namespace
}  // namespace pumice

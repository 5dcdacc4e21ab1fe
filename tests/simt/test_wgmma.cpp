// SPDX-License-Identifier: Apache-2.0
// What lies around the wgmma kernels: which product goes to which kernel, the arguments it gets, the table of experts,
// the output types that no kernel has, and the epilogue. The kernels themselves need a GPU; here their place is taken
// by the loop that they are specified to be, over the arguments that they are given.
#include <limits>
#include <vector>

#include "compare.h"
#include "cuda/wgmma.h"
#include "cuda/wgmma_scale.h"
#include "fp8ref/cpu.h"
#include "fp8ref/scaled_mm.h"

namespace {

using namespace fp8ref;
using namespace fp8ref::test;
using fp8ref::cuda::Grouping;
using fp8ref::cuda::WgmmaCall;

constexpr std::int64_t kFew = 4;
const char* last_kernel;
int calls;

bool aligned(const void* pointer) { return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0; }

/// What the tensor copy engine asks of a product's arrays.
template <class Out>
void check_arrays(const void* a, const void* b, const void* out, std::int64_t k, std::int64_t out_stride) {
  check(aligned(a) && aligned(b) && k > 0 && k % 16 == 0, "aligned operands");
  check(aligned(out) && out_stride * static_cast<std::int64_t>(sizeof(Out)) % 16 == 0, "aligned rows of out");
}

float rounded(float z, float) { return z; }
bf16 rounded(float z, bf16) { return rnbf(z); }

template <class Out, class B = e4m3>
void product(const WgmmaCall& call, Accumulate accumulate) {
  check_arrays<Out>(call.a, call.b, call.out, call.k, call.out_stride);
  const auto a = static_cast<const e4m3*>(call.a);
  const auto b = static_cast<const B*>(call.b);
  for (std::int64_t i = 0; i < call.m; ++i) {
    for (std::int64_t j = 0; j < call.n; ++j) {
      const float sum = mma_accumulate(a + i * call.k, b + j * call.k, call.k, accumulate, 1);
      const float bias = call.bias == nullptr ? cuda::kNoBias : call.bias[j];
      const float z = cuda::wgmma_scale(sum, *call.a_scale.of_row(i), *call.b_scale.of_row(j), bias, call.epilogue);
      static_cast<Out*>(call.out)[i * call.out_stride + j] = rounded(z, Out{});
    }
  }
}

template <class Out, Accumulate accumulate>
void dense(const WgmmaCall& call, cudaStream_t) {
  last_kernel = sizeof(Out) == 2 ? "bf16" : "f32";
  ++calls;
  product<Out>(call, accumulate);
}

template <Accumulate accumulate>
void few_rows(const WgmmaCall& call, cudaStream_t) {
  last_kernel = "few";
  check(call.m <= kFew, "few rows");
  product<bf16>(call, accumulate);
}

template <Accumulate accumulate>
void grouped(const WgmmaCall& call, cudaStream_t) {
  last_kernel = "grouped";
  const cuda::WgmmaGroups& groups = call.groups;
  for (std::int64_t e = 0; e < groups.experts; ++e) {
    WgmmaCall one = call;
    one.m = groups.shapes[3 * e];
    one.n = groups.shapes[3 * e + 1];
    one.k = groups.shapes[3 * e + 2];
    one.a = groups.a[e];
    one.b = groups.b[e];
    one.a_scale.data = groups.a_scale[e];
    one.b_scale.data = groups.b_scale[e];
    one.bias = call.bias == nullptr ? nullptr : groups.bias[e];
    one.out = groups.out[e];
    one.out_stride = groups.out_stride[e];
    check(groups.code_stride[e] == one.k, "stride of codes");
    product<bf16>(one, accumulate);
  }
}

void with_e5m2(const WgmmaCall& call, cudaStream_t) {
  last_kernel = "e5m2";
  product<float, e5m2>(call, Accumulate::sm90_wgmma);
}

template <Accumulate unit>
void add_entries(std::vector<cuda::WgmmaEntry>& entries) {
  const auto add = [&](Grouping grouping, OutDtype out_dtype, std::int64_t most_rows, cuda::WgmmaKernel kernel) {
    entries.push_back({unit, grouping, Operand::e4m3, Operand::e4m3, out_dtype, most_rows, kernel});
  };
  add(Grouping::none, OutDtype::bfloat16, kFew, few_rows<unit>);
  add(Grouping::none, OutDtype::bfloat16, 1 << 30, dense<bf16, unit>);
  add(Grouping::none, OutDtype::float32, 1 << 30, dense<float, unit>);
  add(Grouping::experts, OutDtype::bfloat16, 1 << 30, grouped<unit>);
}

const std::vector<cuda::WgmmaEntry>& entries() {
  static const std::vector<cuda::WgmmaEntry> all = [] {
    std::vector<cuda::WgmmaEntry> made;
    add_entries<Accumulate::sm90_wgmma>(made);
    add_entries<Accumulate::sm90_wgmma_promoted>(made);
    made.push_back(
        {Accumulate::sm90_wgmma, Grouping::none, Operand::e4m3, Operand::e5m2, OutDtype::float32, 1 << 30, with_e5m2});
    return made;
  }();
  return all;
}

bool run(const GroupedMmArgs& args, int capability = 90) {
  last_kernel = "none";
  calls = 0;
  return cuda::wgmma(args, {entries().data(), static_cast<int>(entries().size())}, capability, 132, nullptr);
}

std::vector<float> random_scales(Random& random, std::int64_t n) {
  std::uniform_real_distribution<float> uniform(0.001f, 2);
  std::vector<float> scales(static_cast<std::size_t>(n));
  for (float& scale : scales) scale = uniform(random);
  return scales;
}

/// One product, with room for every output type.
struct Product {
  std::int64_t m, n, k, experts;
  std::vector<e4m3> a, b;
  std::vector<float> a_scale, b_scale, bias;
  std::vector<std::int64_t> offsets;

  Product(Random& random, std::int64_t rows, std::int64_t columns, std::int64_t depth, std::int64_t groups = 1)
      : m(rows), n(columns), k(depth), experts(groups) {
    a = random_codes(random, m * k);
    b = random_codes(random, experts * n * k);
    a_scale = random_scales(random, m + 1);
    b_scale = random_scales(random, experts * n + 1);
    bias = random_scales(random, experts * n + 1);
  }

  GroupedMmArgs args(OutDtype type, void* out) const {
    GroupedMmArgs args{};
    ScaledMmArgs& all = args.all;
    all.a = a.data();
    all.b = b.data();
    all.m = m;
    all.n = n;
    all.k = k;
    all.a_scale = {a_scale.data(), 1};
    all.b_scale = {b_scale.data(), 1};
    all.accumulate = Accumulate::sm90_wgmma;
    all.epilogue = Epilogue::a_b;
    all.out_dtype = type;
    all.out = out;
    all.out_scale = 0.75f;
    args.experts = experts;
    args.offsets = offsets.empty() ? nullptr : offsets.data();
    args.b_scale_stride = n;
    return args;
  }
};

std::string name_of(const GroupedMmArgs& args) {
  const ScaledMmArgs& all = args.all;
  return std::to_string(all.m) + "x" + std::to_string(all.n) + "x" + std::to_string(all.k) + ", out_dtype " +
         std::to_string(static_cast<int>(all.out_dtype)) + ", epilogue " +
         std::to_string(static_cast<int>(all.epilogue)) + ", accumulate " +
         std::to_string(static_cast<int>(all.accumulate));
}

/// wgmma against the CPU backend; every byte of out is compared, also those that must not be written.
template <class Out>
void compare(const Product& x, GroupedMmArgs args, const std::string& kernel) {
  Random random(9);
  const std::vector<Out> before = random_bits<Out>(random, x.m * x.n + 8);
  std::vector<Out> expected = before, got = before;
  args.all.out = expected.data();
  if (args.offsets == nullptr) {
    cpu::scaled_mm(args.all);
  } else {
    cpu::grouped_mm(args);
  }
  args.all.out = got.data();
  check(run(args), name_of(args) + ": a kernel for it");
  check(last_kernel == kernel, name_of(args) + ": kernel " + last_kernel + ", not " + kernel);
  equal(name_of(args), expected, got);
}

/// All orders, units, and forms of scales and bias.
template <class Out>
void compare_all(const Product& x, OutDtype type, const std::string& kernel) {
  GroupedMmArgs args = x.args(type, nullptr);
  for (const Accumulate unit : {Accumulate::sm90_wgmma, Accumulate::sm90_wgmma_promoted}) {
    for (const Epilogue epilogue : {Epilogue::a_b, Epilogue::b_a, Epilogue::ab}) {
      for (int form = 0; form < 8; ++form) {
        args.all.accumulate = unit;
        args.all.epilogue = epilogue;
        args.all.a_scale.stride = form & 1;
        args.all.b_scale.stride = form >> 1 & 1;
        args.b_scale_stride = args.all.b_scale.stride != 0 ? x.n : form >> 2 & 1;
        args.all.bias = (form & 4) != 0 ? x.bias.data() : nullptr;
        compare<Out>(x, args, kernel);
      }
    }
  }
}

void test_products() {
  Random random(1);
  for (const std::int64_t k : {16, 144, 272}) {
    compare_all<bf16>(Product(random, kFew, 8, k), OutDtype::bfloat16, "few");
    compare_all<bf16>(Product(random, kFew + 1, 24, k), OutDtype::bfloat16, "bf16");
    compare_all<float>(Product(random, 3, 12, k), OutDtype::float32, "f32");
  }
}

/// Through fp32 rows of their own: types that no kernel stores, and rows that begin between 16 bytes.
void test_rounded() {
  Random random(2);
  for (const std::int64_t n : {1, 7, 300}) {
    const Product x(random, 5, n, 160);
    compare_all<fp16>(x, OutDtype::float16, "f32");
    compare_all<e4m3>(x, OutDtype::float8_e4m3fn, "f32");
  }
  compare_all<bf16>(Product(random, 5, 9, 32), OutDtype::bfloat16, "f32");
  compare_all<float>(Product(random, 2, 3, 32), OutDtype::float32, "f32");
  const Product x(random, 6, 8, 48);
  GroupedMmArgs args = x.args(OutDtype::bfloat16, nullptr);
  args.all.b_type = Operand::e5m2;
  compare<bf16>(x, args, "e5m2");
}

/// More results than are kept at a time: 2^24 / 2^17 columns are less than the 128 rows of a tile.
void test_pieces() {
  Random random(3);
  const Product x(random, 130, (1 << 17) + 1, 16);
  GroupedMmArgs args = x.args(OutDtype::float8_e4m3fn, nullptr);
  std::vector<e4m3> whole(static_cast<std::size_t>(x.m * x.n)), row(static_cast<std::size_t>(x.n));
  args.all.out = whole.data();
  check(run(args) && calls == 2, "two pieces");
  for (const std::int64_t i : {0, 127, 128, 129}) {
    ScaledMmArgs one = args.all;
    one.m = 1;
    one.a = x.a.data() + i * x.k;
    one.a_scale.data += i;
    one.out = row.data();
    cpu::scaled_mm(one);
    equal("pieces", row, std::vector<e4m3>(whole.begin() + i * x.n, whole.begin() + (i + 1) * x.n));
  }
}

void test_groups() {
  Random random(4);
  Product x(random, 9, 16, 144, 4);
  for (const std::vector<std::int64_t>& offsets :
       {std::vector<std::int64_t>{1, 3, 3, 8, 8}, {0, 0, 0, 0, 9}, {9, 9, 9, 9, 9}}) {
    x.offsets = offsets;
    compare_all<bf16>(x, OutDtype::bfloat16, "grouped");
  }
}

/// What no kernel can do is left to others, whole: nothing is called.
void test_refusals() {
  Random random(5);
  const Product x(random, 8, 16, 32, 2);
  std::vector<float> out(8 * 16);
  const auto refuse = [&](const std::string& what, const auto& change, int capability = 90) {
    GroupedMmArgs args = x.args(OutDtype::bfloat16, out.data());
    check(run(args), "a kernel for the product that " + what + " changes");
    change(args);
    check(!run(args, capability) && std::string(last_kernel) == "none", "refused: " + what);
  };
  const std::vector<std::int64_t> offsets = {0, 4, 8};
  const auto byte_after = [](const void* pointer) { return static_cast<const unsigned char*>(pointer) + 8; };
  refuse("capability 100", [](GroupedMmArgs&) {}, 100);
  refuse("capability 89", [](GroupedMmArgs&) {}, 89);
  refuse("exact", [](GroupedMmArgs& args) { args.all.accumulate = Accumulate::exact; });
  refuse("another unit", [](GroupedMmArgs& args) { args.all.accumulate = Accumulate::sm100_tcgen05; });
  refuse("split_k", [](GroupedMmArgs& args) { args.all.split_k = 2; });
  refuse("block scales", [](GroupedMmArgs& args) { args.all.scales = Scales::blocks; });
  refuse("order of blocks", [](GroupedMmArgs& args) { args.all.epilogue = Epilogue::triton; });
  refuse("strided scales", [](GroupedMmArgs& args) { args.all.a_scale.stride = 2; });
  refuse("types of no kernel", [](GroupedMmArgs& args) { args.all.a_type = Operand::e5m2; });
  refuse("k", [](GroupedMmArgs& args) { args.all.k = 24; });
  refuse("no k", [](GroupedMmArgs& args) { args.all.k = 0; });
  refuse("large m", [](GroupedMmArgs& args) { args.all.m = std::int64_t{1} << 31; });
  refuse("a between 16 bytes", [&](GroupedMmArgs& args) { args.all.a = byte_after(args.all.a); });
  refuse("b between 16 bytes", [&](GroupedMmArgs& args) { args.all.b = byte_after(args.all.b); });
  refuse("groups to float32", [&](GroupedMmArgs& args) {
    args.offsets = offsets.data();
    args.all.out_dtype = OutDtype::float32;
  });
  refuse("groups, rows between 16 bytes", [&](GroupedMmArgs& args) {
    args.offsets = offsets.data();
    args.all.n = 12;
  });
  GroupedMmArgs args = x.args(OutDtype::bfloat16, out.data());
  args.all.m = 0;
  check(run(args) && std::string(last_kernel) == "none", "no rows are no work");
  check(!cuda::wgmma(x.args(OutDtype::bfloat16, out.data()), cuda::wgmma_table(), 90, 132, nullptr),
        "the emulator has no kernels");
}

/// wgmma_scale is scaled_mm_epilogue, for all kinds of numbers.
void test_scale() {
  Random random(6);
  std::vector<float> values = {0.0f, 1.0f, 1e-45f, 1.17549435e-38f, 3.4e38f, 0x1p-140f, 0x1p64f, 0x1.8p-75f};
  const float infinity = std::numeric_limits<float>::infinity();
  for (const float special : {infinity, infinity - infinity, 0.1f}) values.push_back(special);
  for (int i = 0; i < 6; ++i) values.push_back(random_bits<float>(random, 1)[0]);
  const std::size_t unsigned_count = values.size();
  for (std::size_t i = 0; i < unsigned_count; ++i) values.push_back(-values[i]);
  std::vector<float> expected, got;
  for (const Epilogue epilogue : {Epilogue::a_b, Epilogue::b_a, Epilogue::ab}) {
    for (const float sum : values) {
      for (const float a_scale : values) {
        for (const float b_scale : values) {
          expected.push_back(scaled_mm_epilogue(sum, a_scale, b_scale, nullptr, epilogue));
          got.push_back(cuda::wgmma_scale(sum, a_scale, b_scale, cuda::kNoBias, epilogue));
          for (const float bias : {0.0f, -0.0f, 0x1p-149f, 1.0f, values[11], values[14], infinity}) {
            expected.push_back(scaled_mm_epilogue(sum, a_scale, b_scale, &bias, epilogue));
            got.push_back(cuda::wgmma_scale(sum, a_scale, b_scale, bias, epilogue));
          }
        }
      }
    }
  }
  equal("wgmma_scale", expected, got);
}

}  // namespace

int main() {
  test_scale();
  test_refusals();
  in_both_orders([] {
    test_products();
    test_rounded();
    test_groups();
  });
  test_pieces();
  return finish("simt wgmma");
}

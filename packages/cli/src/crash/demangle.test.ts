import { expect, test } from "vitest";
import { demangle } from "./demangle.ts";

test.each([
  ["main", "main"],
  ["_ZN2v88internal3Map3GetEv", "v8::internal::Map::Get"],
  ["_ZNK4node6Buffer4dataEv", "node::Buffer::data"],
  ["_Z6squarei", "square"],
  ["_ZSt9terminatev", "std::terminate"],
  ["_ZN4node12_GLOBAL__N_13runEv", "node::(anonymous)::run"],
  ["_ZN4node3EnvC2Ev", "node::Env::Env"],
  ["_ZN4node3EnvD0Ev", "node::Env::~Env"],
  ["_ZN3app4main17h0123456789abcdefE", "app::main"],
  ["_ZN4node4ListIiE4pushEi", "node::List…"],
  ["_ZN3app4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE", "app::main::{{closure}}"],
  [
    "_ZN48_$LT$app..Buffer$u20$as$u20$core..fmt..Debug$GT$3fmt17h0123456789abcdefE",
    "<app::Buffer as core::fmt::Debug>::fmt",
  ],
  ["_ZN99x", "_ZN99x"],
  ["_Z", "_Z"],
  ["_RNvCs1_3app4main", "_RNvCs1_3app4main"],
])("%s reads %s", (symbol, name) => expect(demangle(symbol)).toBe(name));

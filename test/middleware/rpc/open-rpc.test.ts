import test, { type ExecutionContext } from 'ava'
import { type } from 'arktype'
import { expectTypeOf } from 'expect-type'
import * as v from 'valibot'
import { z } from 'zod'
import {
  Cio,
  type OpenRpcDocument,
  type StandardSchema,
  json,
  openRpc,
  rpc,
} from '../../../src/index.ts'
import { serve } from '../../support/serve.ts'

const about = { title: 'Arithmetic', version: '1.2.3' }
const number = { type: 'number' }

/** Each `$ref` of a document, with what it points to. */
function references(document: OpenRpcDocument): unknown[] {
  const found: string[] = []
  JSON.stringify(document, (key, value: unknown) => {
    if (key === '$ref') found.push(value as string)
    return value
  })
  return found.map((reference) =>
    reference
      .slice(2)
      .split('/')
      .map((step) => decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~'))
      .reduce<unknown>((part, name) => (part as Record<string, unknown>)[name], document),
  )
}

test('the document has the version, the info, and each method with parameters and a result', (t) => {
  const service = {
    methods: {
      add: ([a, b]: [number, number]) => a + b,
      search: ({ text }: { limit?: number | undefined; text: string }) => [text],
      now: () => 'now',
    },
    params: {
      add: z.tuple([z.number().meta({ title: 'left' }), z.number()]),
      search: z.object({ limit: z.number().optional(), text: z.string() }),
    },
  }
  const document = openRpc(service, {
    ...about,
    description: 'Sums',
    results: { add: z.number(), search: z.array(z.string()) },
  })
  t.deepEqual(document, {
    openrpc: '1.3.2',
    info: { ...about, description: 'Sums' },
    methods: [
      {
        name: 'add',
        paramStructure: 'by-position',
        params: [
          { name: 'left', required: true, schema: { ...number, title: 'left' } },
          { name: 'param2', required: true, schema: number },
        ],
        result: { name: 'result', schema: number },
      },
      {
        name: 'search',
        paramStructure: 'by-name',
        params: [
          { name: 'text', required: true, schema: { type: 'string' } },
          { name: 'limit', required: false, schema: number },
        ],
        result: { name: 'result', schema: { type: 'array', items: { type: 'string' } } },
      },
      { name: 'now', params: [], result: { name: 'result', schema: {} } },
    ],
  })
})

const pairs: Record<string, StandardSchema<[number, (string | undefined)?]>> = {
  zod: z.tuple([z.number(), z.string().optional()]),
  arktype: type(['number', 'string?']) as never,
}

for (const [library, pair] of Object.entries(pairs)) {
  test(`parameters that may be left out are not required (${library})`, (t) => {
    const service = { methods: { pair: () => null }, params: { pair } }
    const [method] = openRpc(service, about).methods
    t.deepEqual(
      method?.params.map(({ name, required }) => [name, required]),
      [
        ['param1', true],
        ['param2', false],
      ],
    )
  })
}

test('a schema without a JSON Schema, or with a type that JSON lacks, describes nothing', (t) => {
  const methods = { plain: () => null, date: () => null }
  const params = { plain: v.object({ text: v.string() }), date: z.object({ at: z.date() }) }
  const document = openRpc({ methods, params }, about)
  t.deepEqual(
    document.methods.map(({ params }) => params),
    [[], []],
  )
})

test('a schema that refers to itself keeps its references', (t) => {
  const tree = z.object({
    name: z.string(),
    get children() {
      return z.array(tree)
    },
  })
  const other = type.module({ node: { name: 'string', 'children?': 'node[]' } }).node
  const names = ['tree/put~1 %', 'other'] as const
  const methods = Object.fromEntries(names.map((name) => [name, () => null]))
  const params = { [names[0]]: tree, [names[1]]: other }
  const results = { [names[0]]: tree }
  const document = openRpc({ methods, params }, { ...about, results })
  t.deepEqual(
    document.methods.map(({ params }) => params.map(({ name }) => name)),
    [
      ['name', 'children'],
      ['name', 'children'],
    ],
  )
  const targets = references(document)
  t.true(targets.length >= 4)
  for (const target of targets) t.is(typeof target, 'object')
})

async function discovered(t: ExecutionContext, app: Parameters<typeof serve>[1]): Promise<unknown> {
  const { port } = await serve(t, app)
  const near = new Cio().useClient(json()).useClient(rpc())
  t.teardown(() => near.close())
  const client = await near.connect(port)
  return client.rpc.call('rpc.discover')
}

test('rpc.discover answers with the document, and is no method without the option', async (t) => {
  const service = { methods: { add: ([a, b]: [number, number]) => a + b } }
  const discover = openRpc(service, about)
  const app = new Cio().useConnection(json()).useConnection(rpc({ ...service, discover }))
  t.deepEqual(await discovered(t, app), discover)
  const without = new Cio().useConnection(json()).useConnection(rpc(service))
  await t.throwsAsync(discovered(t, without), { code: 'ERR_CIO_RPC', message: /-32601/ })
})

test('options that are unknown or of another type are refused', (t) => {
  const option = { code: 'ERR_CIO_OPTION' }
  const methods = { add: () => 3 }
  t.throws(() => openRpc({ methods }, { ...about, titel: 1 } as never), {
    ...option,
    message: /titel/,
  })
  t.throws(() => openRpc({ methods }, { title: 'A' } as never), { ...option, message: /version/ })
  t.throws(() => openRpc({ methods }, { ...about, results: { sub: z.number() } }), {
    ...option,
    message: /sub/,
  })
  t.throws(() => rpc({ discover: true as never }), { ...option, message: /discover/ })
  t.throws(() => rpc({ discover: null as never }), { ...option, message: /discover/ })
})

test('the results that rpc() validates are described without saying them twice', (t) => {
  const service = { methods: { add: () => 3 }, results: { add: z.number() } }
  t.deepEqual(openRpc(service, about).methods[0]!.result!.schema, number)
})

test('schemas of results have the types of the results', (t) => {
  interface Service {
    add(params: [number, number]): Promise<number>
  }
  const methods = { add: async ([a, b]: [number, number]) => a + b }
  expectTypeOf(
    openRpc<Service>({ methods }, { ...about, results: { add: z.number() } }),
  ).toExtend<OpenRpcDocument>()
  // @ts-expect-error the result is a number
  openRpc<Service>({ methods }, { ...about, results: { add: z.string() } })
  // @ts-expect-error it is a number
  rpc<{}, Service>({ methods, results: { add: z.string() } })
  t.pass()
})

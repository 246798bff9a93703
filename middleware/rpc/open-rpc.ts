/** The OpenRPC document of methods, made from the schemas of their parameters and results. */

import { checkOptionNames, optionError } from '../../src/options.ts'
import { DocumentSchemas, type JsonSchema } from './json-schema.ts'
import type { Methods, OwnMethods, ResultSchemas, Schemas } from './method-types.ts'
import type { Procedure } from './procedure.ts'

/** Version 1.3, since the validators of OpenRPC's own packages refuse 1.4. */
const specification = '1.3.2'

/** A parameter or a result, as OpenRPC describes it. */
export interface OpenRpcContent {
  readonly name: string
  readonly required?: boolean
  readonly schema: JsonSchema
}

/** A method, as OpenRPC describes it. */
export interface OpenRpcMethod {
  readonly name: string
  readonly paramStructure?: 'by-name' | 'by-position' | 'either'
  readonly params: readonly OpenRpcContent[]
  readonly result?: OpenRpcContent
}

/** An OpenRPC document, from which tools make documentation, clients and forms. */
export interface OpenRpcDocument {
  /** The version of the specification. */
  readonly openrpc: string
  /** The title and the version of the service. */
  readonly info: { readonly title: string; readonly version: string; readonly description?: string }
  /** The methods, by name. */
  readonly methods: readonly OpenRpcMethod[]
  /** The schemas that other schemas refer to. */
  readonly components?: { readonly schemas?: Readonly<Record<string, JsonSchema>> }
}

/** The service that a document describes: the methods and schemas that `rpc()` takes. */
export interface DescribedService<Local> {
  readonly methods?: Methods<Local>
  readonly params?: Schemas<Local>
  readonly results?: ResultSchemas<Local>
}

/** The options of {@link openRpc}. */
export interface OpenRpcOptions<Local = OwnMethods> {
  /** The name of the service. */
  readonly title: string
  /** The version of the service. */
  readonly version: string
  /** One or more sentences about the service, in Markdown. Without it, there is no description. */
  readonly description?: string
  /**
   * Schemas of results that the document describes, though `rpc()` does not validate them.
   *
   * @default the `results` of the service
   */
  readonly results?: ResultSchemas<Local>
}

/** The parts of a JSON Schema that say which parameters there are. */
interface Parts {
  readonly type?: unknown
  readonly properties?: Readonly<Record<string, JsonSchema>>
  readonly required?: readonly string[]
  readonly items?: Titled | readonly Titled[]
  readonly minItems?: number
}

type Titled = JsonSchema & { readonly title?: string }

/**
 * Makes the OpenRPC document of methods, from the same object that `rpc()` takes. Give it to the
 * option `discover` of `rpc()`, write it to a file, or add information that the schemas do not
 * have.
 *
 * The schemas give their JSON Schema by Standard JSON Schema: zod from 4.2 on, arktype from 2.1.28
 * on, valibot with `toStandardJsonSchema()` of `@valibot/to-json-schema`. A method without a schema
 * is listed without parameters, and a result without a schema may be anything.
 *
 * @throws `ERR_CIO_OPTION`: `title` or `version` is missing, or `results` names an unknown method
 * @see https://spec.open-rpc.org
 *
 * @example
 * import { openRpc } from 'cio'
 * import { z } from 'zod'
 *
 * const service = {
 *   methods: { add: ([a, b]: [number, number]) => a + b },
 *   params: { add: z.tuple([z.number(), z.number()]) },
 * }
 * const document = openRpc(service, { title: 'Arithmetic', version: '1.0.0' })
 * console.log(document.methods[0]?.name) // add
 */
export function openRpc<Local = OwnMethods>(
  service: DescribedService<NoInfer<Local>>,
  options: OpenRpcOptions<NoInfer<Local>>,
): OpenRpcDocument {
  checkOptionNames('openRpc', options, ['title', 'version', 'description', 'results'])
  const { methods = {}, params = {} } = service as DescribedService<OwnMethods>
  const { title, version, description, results = service.results ?? {} } = options as OpenRpcOptions
  if (typeof title !== 'string') throw optionError('openRpc', 'title', 'a string', title)
  if (typeof version !== 'string') throw optionError('openRpc', 'version', 'a string', version)
  const names = Object.keys(methods)
  checkOptionNames('openRpc: results', results, names)

  const schemas = new DocumentSchemas()
  return {
    openrpc: specification,
    info: { title, version, ...(description !== undefined && { description }) },
    methods: names.map((name) => ({
      name,
      ...paramsOf(schemas.place(`${name}.params`, own(params, name), 'input')),
      result: {
        name: 'result',
        schema: schemas.place(`${name}.result`, own(results, name), 'output'),
      },
    })),
    ...(schemas.components.size > 0 && {
      components: { schemas: Object.fromEntries(schemas.components) },
    }),
  }
}

function own<Value>(record: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.hasOwn(record, name) ? record[name] : undefined
}

/** The parameters that a schema of all of them describes: an object by name, an array by position. */
function paramsOf(schema: JsonSchema): Pick<OpenRpcMethod, 'paramStructure' | 'params'> {
  const { type, properties = {}, required = [], items = [], minItems = 0 } = schema as Parts
  if (type === 'object') {
    const params = Object.entries(properties).map(([name, part]) => {
      return { name, required: required.includes(name), schema: part }
    })
    // OpenRPC requires that optional parameters come last.
    params.sort((one, other) => Number(other.required) - Number(one.required))
    return { paramStructure: 'by-name', params }
  }
  if (type !== 'array') return { params: [] }
  const params = [items].flat().map((part, index) => {
    return { name: part.title ?? `param${index + 1}`, required: index < minItems, schema: part }
  })
  return { paramStructure: 'by-position', params }
}

/** The method that OpenRPC tools call for the document of a service. */
export function discovery(document: OpenRpcDocument): [name: string, Procedure] {
  const { openrpc, methods } = (document ?? {}) as Partial<OpenRpcDocument>
  if (typeof openrpc !== 'string' || !Array.isArray(methods)) {
    throw optionError('rpc', 'discover', 'an OpenRPC document, such as openRpc() makes', document)
  }
  return ['rpc.discover', { method: () => document }]
}

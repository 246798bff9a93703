/** JSON Schemas of parameters and results, by Standard JSON Schema (standardschema.dev). */

import type { StandardSchema } from '../../src/messages/messages.ts'

/** A JSON Schema, draft 7, as in OpenRPC. */
export type JsonSchema = Readonly<Record<string, unknown>>

/** A schema that describes itself: `StandardJSONSchemaV1` of `@standard-schema/spec` 1.1. */
interface Described {
  readonly jsonSchema?: Readonly<
    Record<'input' | 'output', (options: { readonly target: 'draft-07' }) => JsonSchema>
  >
}

const definition = /^#\/definitions\/([^/]+)$/

type Defining = JsonSchema & { readonly definitions?: Readonly<Record<string, JsonSchema>> }

/** The JSON Schemas of a document. */
export class DocumentSchemas {
  /** Schemas that other schemas refer to, by their names in `components.schemas`. */
  readonly components: Map<string, JsonSchema> = new Map()

  /** The JSON Schema of a schema. Without one, an empty JSON Schema, which allows anything. */
  place(
    name: string,
    schema: StandardSchema<unknown> | undefined,
    side: 'input' | 'output',
  ): JsonSchema {
    const own = jsonSchemaOf(schema, side)
    if (!JSON.stringify(own).includes('"$ref":"#')) return own
    // OpenRPC tools find a schema in `components.schemas`, but not a part of it.
    const { definitions = {}, ...root } = referringTo(own, name) as Defining
    for (const [part, defined] of Object.entries(definitions)) {
      this.components.set(`${name}.${part}`, defined)
    }
    this.components.set(name, root)
    // Some libraries move each schema that refers to itself into the definitions, and leave a
    // reference at the root.
    const [, defined = ''] = definition.exec(String(own.$ref)) ?? []
    return this.components.get(`${name}.${defined}`) ?? root
  }
}

function jsonSchemaOf(
  schema: StandardSchema<unknown> | undefined,
  side: 'input' | 'output',
): JsonSchema {
  const described = (schema?.['~standard'] ?? {}) as Described
  try {
    const { $schema: _draft, ...own } = described.jsonSchema?.[side]({ target: 'draft-07' }) ?? {}
    return own
  } catch {
    // Libraries throw for a type that JSON does not have, such as a date.
    return {}
  }
}

/** A copy of a schema whose references name components. */
function referringTo(schema: JsonSchema, name: string): JsonSchema {
  const component = (reference: string): string => {
    const [, part] = definition.exec(reference) ?? []
    return `#/components/schemas/${escaped(name)}${part === undefined ? reference.slice(1) : `.${part}`}`
  }
  return JSON.parse(JSON.stringify(schema), (key, value: unknown) =>
    key === '$ref' && typeof value === 'string' && value.startsWith('#') ? component(value) : value,
  ) as JsonSchema
}

/** A step of a JSON Pointer in a URL. */
function escaped(step: string): string {
  return encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))
}

/** A callable method, and its invocation. */

import { CioError } from '../../src/errors.ts'
import { awaited, isThenable } from '../../src/thenable.ts'
import type { StandardSchema } from '../../src/messages/messages.ts'
import type { ObservedCall } from './observed-call.ts'
import type { RpcRequest } from './request.ts'
import { isStreamed } from './streamed.ts'
import { failures, rpcError } from './wire.ts'

/** A method as it is called at run time, regardless of its types. */
export type AnyMethod = (params: unknown, request: RpcRequest) => unknown

/** A method, and the schemas of its parameters and of its result. */
export interface Procedure {
  readonly method: AnyMethod
  readonly schema?: StandardSchema<unknown> | undefined
  /** That of each value, if the result is streamed. */
  readonly resultSchema?: StandardSchema<unknown> | undefined
}

/** Validates the parameters, calls the method, and validates its result. */
export function invoke(
  procedure: Procedure,
  params: unknown,
  request: RpcRequest,
  observed: ObservedCall | undefined,
): unknown {
  if (!observed) return run(procedure, params, request)
  return observed.run(() => run(procedure, params, request))
}

function run(procedure: Procedure, params: unknown, request: RpcRequest): unknown {
  const { resultSchema } = procedure
  const returned = called(procedure, params, request)
  if (!resultSchema || request.id === undefined) return returned
  const pending = awaited(returned)
  return pending ? pending.then(accept) : accept(returned)

  function accept(result: unknown): unknown {
    if (isStreamed(result))
      return eachValid(result, (value) => valid(value, resultSchema!, request))
    return valid(result, resultSchema!, request)
  }
}

function called({ method, schema }: Procedure, params: unknown, request: RpcRequest): unknown {
  if (!schema) return method(params, request)
  const checked = schema['~standard'].validate(params)
  return isThenable(checked) ? checked.then(accept) : accept(checked)

  function accept(result: Awaited<typeof checked>): unknown {
    if (!result.issues) return method(result.value, request)
    const issues = result.issues.map((issue) => issue.message)
    throw rpcError(failures.invalidParams.code, failures.invalidParams.message, issues)
  }
}

/** The value as the schema returns it. */
function valid(value: unknown, schema: StandardSchema<unknown>, { method }: RpcRequest): unknown {
  const checked = schema['~standard'].validate(value)
  return isThenable(checked) ? checked.then(accept) : accept(checked)

  function accept(result: Awaited<typeof checked>): unknown {
    if (!result.issues) return result.value
    const issues = result.issues.map((issue) => issue.message).join('; ')
    const what = `\`${method}\` returned or yielded a value that its schema in \`results\` refuses`
    throw new CioError('ERR_CIO_ENCODE', `rpc: ${what}: ${issues}`)
  }
}

/** The values of a streamed result, each of them validated. */
function eachValid(
  values: AsyncIterable<unknown>,
  validate: (value: unknown) => unknown,
): AsyncIterable<unknown> {
  return {
    [Symbol.asyncIterator]() {
      const iterator = values[Symbol.asyncIterator]()
      return {
        async next() {
          const { done, value } = await iterator.next()
          return done ? { done, value } : { done: false, value: await validate(value) }
        },
        return: (value: unknown) =>
          iterator.return?.(value) ?? Promise.resolve({ done: true, value }),
      }
    },
  }
}

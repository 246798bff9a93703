/** The types of methods, taken from an interface. */

import type { StreamContext } from '../../src/lifecycle/stream-context.ts'
import type { StandardSchema } from '../../src/messages/messages.ts'
import type { RpcRequest } from './request.ts'

/** The default type of the peer's methods. */
export type AnyMethods = Record<string, (params?: unknown) => unknown>

/** The default type of this side's methods. */
export type OwnMethods = Record<string, (params: never) => unknown>

/** The implementation of an interface: its methods, each with the request as a second argument. */
export type Methods<Interface, Context extends StreamContext = StreamContext> = {
  readonly [Name in keyof Interface]: (
    params: Called<Interface[Name]>[0],
    request: RpcRequest<Context>,
  ) => Returned<Interface[Name]> | PromiseLike<Returned<Interface[Name]>>
}

/** Schemas of the parameters of some methods. */
export type Schemas<Interface> = {
  readonly [Name in keyof Interface]?: StandardSchema<Checked<Interface[Name]>>
}

/** Schemas of the results of some methods; if a result is streamed, that of its values. */
export type ResultSchemas<Interface> = {
  readonly [Name in keyof Interface]?: StandardSchema<Sent<Interface[Name]>>
}

export type Called<Method> = Method extends (...args: infer Args) => unknown ? Args : never
export type Returned<Method> = Method extends (...args: never[]) => infer Result
  ? Awaited<Result>
  : never
/** The result of a call; a method that streams has none. */
export type Result<Method> = [Returned<Method>] extends [never]
  ? never
  : Returned<Method> extends AsyncIterable<unknown>
    ? never
    : Returned<Method>
/** The result of a method, or a value of it if it is streamed. */
export type Sent<Method> =
  Returned<Method> extends AsyncIterable<infer Value> ? Value : Returned<Method>
/** A value of a streamed result. */
export type Value<Method> =
  Returned<Method> extends AsyncIterable<infer Value> | readonly (infer Value)[]
    ? Value
    : Returned<Method>
export type Checked<Method> = [Called<Method>[0]] extends [never] ? unknown : Called<Method>[0]
export type Name<Interface> = keyof Interface & string

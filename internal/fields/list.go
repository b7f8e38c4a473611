package fields

// List is a list of structures; each hands over the fields of one, and ends with
// Tags.
func List[T any](c *Coder, name string, list *[]T, each func(*T)) {
	members(c, name, list, false, true, each)
}

// NullList is a list, nil for null.
func NullList[T any](c *Coder, name string, list *[]T, each func(*T)) {
	members(c, name, list, true, true, each)
}

// Int32s is a list of numbers.
func (c *Coder) Int32s(name string, list *[]int32) {
	members(c, name, list, false, false, func(v *int32) { c.Int32("", v) })
}

// Strings is a list of texts.
func (c *Coder) Strings(name string, list *[]string) {
	members(c, name, list, false, false, func(v *string) { c.String("", v) })
}

func members[T any](c *Coder, name string, list *[]T, null, objects bool, each func(*T)) {
	switch c.mode {
	case reading:
		*list = nil
		n := c.length(name, null, 4)
		if n == 0 && null {
			*list = []T{}
		}
		for i := 0; i < n && c.err == nil; i++ {
			*list = append(*list, *new(T))
			each(&(*list)[i])
		}
	case appending:
		n := len(*list)
		if *list == nil && null {
			n = -1
		}
		c.putLength(name, n, 4)
		for i := range *list {
			each(&(*list)[i])
		}
	default:
		c.name(name)
		if *list == nil && null {
			c.b = append(c.b, "null"...)
			return
		}
		c.open('[')
		for i := range *list {
			if objects {
				c.name("")
				c.open('{')
			}
			each(&(*list)[i])
			if objects {
				c.close('}')
			}
		}
		c.close(']')
	}
}

// open and close write the brackets of a list or an object, around its members.
func (c *Coder) open(bracket byte) {
	c.b = append(c.b, bracket)
	c.comma = false
}

func (c *Coder) close(bracket byte) {
	c.b = append(c.b, bracket)
	c.comma = true
}

// NullObject is a structure behind a byte that says whether it is there: -1 for
// null, else 1.
func NullObject[T any](c *Coder, name string, v **T, each func(*T)) {
	there := int8(1)
	switch {
	case c.mode == showing && *v == nil:
		c.name(name)
		c.b = append(c.b, "null"...)
		return
	case c.mode == showing:
	case c.mode == reading:
		*v = nil
		c.Int8(name, &there)
		if there < 0 || c.err != nil {
			return
		}
		*v = new(T)
	case *v == nil:
		there = -1
		c.Int8(name, &there)
		return
	default:
		c.Int8(name, &there)
	}
	c.Object(name, func() { each(*v) })
}

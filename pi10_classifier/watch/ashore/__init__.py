"""What a ship sends ashore: the line of each minute, small pictures, the link."""
